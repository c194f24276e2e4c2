"""A repair looks again at the listed damage alone, not at the whole store."""

from pathlib import Path

import pytest

from segtransfer.store import Store
from segtransfer.store.files import Files
from segtransfer.store.maintenance import compact, find_damage, remove_damage, verify
from segtransfer.tasks.data.shards import Shard
from tests.orchestrator.stores import (
    blob_path,
    commit_attack,
    commit_scores,
    flip,
    key_of,
    make_shard,
)


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    return make_shard(tmp_path)


@pytest.fixture
def store(tmp_path: Path, shard: Shard) -> Store:
    """Twenty results, of which the second has an altered blob."""
    store = Store(str(tmp_path / "store"))
    store.put_shard(shard)
    for number in range(10):
        commit_scores(store, shard, 10 + number, commit_attack(store, shard, number))
    return store


@pytest.mark.parametrize("compacted", [False, True])
def test_repair_reads_only_the_listed_damage(
    store: Store, monkeypatch: pytest.MonkeyPatch, compacted: bool
) -> None:
    if compacted:
        compact(store)
    blob = blob_path(store, key_of(1))
    flip(store, blob)
    damages = find_damage(store)
    read: list[str] = []
    original = Files.read

    def noting(files: Files, path: str) -> bytes | None:
        read.append(path)
        return original(files, path)

    with monkeypatch.context() as patch:
        patch.setattr(Files, "read", noting)
        assert remove_damage(store, damages) == len(damages) == 2
    assert {path for path in read if path.startswith("blobs/")} == {blob}
    assert len([path for path in read if path.startswith("rows/")]) <= 1
    assert store.keys() == {key_of(number) for number in range(20)} - {key_of(1)}
    assert verify(store).sound, verify(store).findings


def test_compacted_rows_healed_since_the_listing_are_kept(store: Store, shard: Shard) -> None:
    compact(store)
    sound = {number: store.files.read(blob_path(store, key_of(number))) for number in (1, 2)}
    for number in sound:
        flip(store, blob_path(store, key_of(number)))
    damages = find_damage(store)
    store.files.write(blob_path(store, key_of(1)), sound[1] or b"")
    remove_damage(store, damages)
    assert store.keys() == {key_of(number) for number in range(20)} - {key_of(2)}
    assert verify(store).sound, verify(store).findings


def test_damage_since_the_listing_is_not_removed(store: Store) -> None:
    flip(store, blob_path(store, key_of(1)))
    damages = find_damage(store)
    flip(store, blob_path(store, key_of(2)))
    remove_damage(store, damages)
    assert store.row(key_of(1)) is None
    assert store.row(key_of(2)) is not None
