"""A rung reads the stored AEs of its new shards only."""

from collections import Counter
from pathlib import Path

import pytest

from segtransfer.results import Results
from segtransfer.searches.context import propose, score_rungs
from segtransfer.store import Store
from segtransfer.store.maintenance.healing import LostImages
from tests.orchestrator.searches.searches import grey_context, local_client, step
from tests.orchestrator.toy_experiments import blob_of, damage


def test_stored_attack_is_checked_once_over_all_rungs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = grey_context(tmp_path)[0]
    store, attack = Store(context.store), propose(context, step(10), 0)
    client = local_client(store, context.search)
    kept = list[Results]()
    first = [*score_rungs(context, attack, client, store, kept.append)]
    looked: Counter[str] = Counter()
    original = LostImages.__init__

    def noting(self: LostImages, of: Store, attacks: list[str]) -> None:
        attacks = list(attacks)
        looked.update(attacks)
        original(self, of, attacks)

    monkeypatch.setattr(LostImages, "__init__", noting)
    assert [*score_rungs(context, attack, client, store)] == first
    keys = {cell.attack_key for cell in kept[-1].manifest.cells if cell.attack_key}
    assert looked == dict.fromkeys(keys, 1)
    for results in (kept[0], kept[-1]):  # damage in the first and in the last rung is healed
        key = [cell.attack_key for cell in results.manifest.cells if cell.attack_key][-1]
        damage(blob_of(store, key))
        assert [*score_rungs(context, attack, client, store)] == first
        assert store.attack_images(key) is not None
