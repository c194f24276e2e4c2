"""Nothing that a run, a search or a merge relies on is removed, whatever the clocks say."""

import os
import threading
import time
from pathlib import Path

import pytest

from segtransfer.errors import InputError
from segtransfer.runtime.listener import Listener
from segtransfer.store import Store
from segtransfer.store.maintenance import (
    compact,
    find_damage,
    find_garbage,
    leases,
    merge,
    remove_damage,
    remove_garbage,
    verify,
)
from segtransfer.store.maintenance.leases import in_use, removing
from segtransfer.tasks.data.shards import Shard
from tests.orchestrator.stores import (
    blob_path,
    commit_attack,
    commit_scores,
    flip,
    images_of,
    key_of,
    make_shard,
)
from tests.orchestrator.toy_experiments import arrays, run_toy

LATER = 7200.0
ATTACKS = [{"preset": "pgd", "eps": "8/255", "steps": 1}]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    return make_shard(tmp_path)


def lease_files(store: Store) -> list[str]:
    return store.files.names("leases")


def age(store: Store, path: str, seconds: float) -> None:
    when = time.time() - seconds
    os.utime(Path(store.location, path), (when, when))


def test_run_started_after_the_listing_keeps_its_results(tmp_path: Path) -> None:
    first = run_toy(tmp_path, attacks=ATTACKS)
    store = first.store
    store.files.delete(f"experiments/{first.identity}.json")
    garbage = find_garbage(store, unreferenced=True, now=time.time() + LATER).garbage
    rows = store.keys()
    assert len(garbage) > len(rows)
    again = run_toy(tmp_path, attacks=ATTACKS)
    assert again.computed == 0
    assert remove_garbage(store, garbage) == 0
    assert store.keys() == rows
    assert verify(store).findings == ()
    arrays(again)


@pytest.mark.parametrize("compacted", [False, True])
def test_rows_of_a_search_in_a_long_rung_are_kept(
    store: Store, shard: Shard, compacted: bool
) -> None:
    """Its trial names them after the rung alone."""
    store.put_shard(shard)
    keys = {commit_attack(store, shard, number) for number in range(3)}
    if compacted:
        compact(store)
    with in_use(store, "search s"):
        report = find_garbage(store, unreferenced=True, now=time.time() + LATER)
        assert "search s" in report.notes[0]
        remove_garbage(store, report.garbage)
        assert store.keys() == keys
        assert store.shard(shard.shard_id) is not None
        flip(store, blob_path(store, key_of(0)))
        damages = find_damage(store)
        with pytest.raises(InputError, match=r"is used by search s .*no file was removed"):
            remove_damage(store, damages)
    remove_garbage(store, report.garbage)
    assert store.keys() == set()


def test_named_row_beside_deleted_rows_is_kept(store: Store, shard: Shard) -> None:
    store.put_shard(shard)
    keys = [commit_attack(store, shard, number) for number in range(4)]
    compact(store)
    garbage = find_garbage(store, unreferenced=True, now=time.time() + LATER).garbage
    cell = ["a", "s", "t", shard.shard_id, key_of(9), keys[2]]
    store.save_trial("s", 0, {"cells": [cell], "shards": [shard.shard_id]})
    remove_garbage(store, garbage)
    assert store.keys() == {keys[2]}
    assert store.attack_images(keys[2]) is not None
    assert store.shard(shard.shard_id) is not None


def test_blob_named_by_a_merge_since_the_listing_is_kept(
    store: Store, shard: Shard, tmp_path: Path
) -> None:
    other = Store(str(tmp_path / "other"))
    other.put_shard(shard)
    commit_scores(other, shard, 1)
    row = other.row(key_of(1))
    assert row is not None
    content = other.files.read(row.blob)
    assert content is not None
    store.files.write(row.blob, content)
    age(store, row.blob, LATER)
    garbage = find_garbage(store).garbage
    assert [item.info.path for item in garbage] == [row.blob]
    merge(store, other)
    assert remove_garbage(store, garbage) == 0
    assert store.evaluation(key_of(1)) is not None


def test_a_run_waits_for_a_removal(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "PAUSE", 0.01)
    began = threading.Event()

    def use() -> None:
        with in_use(store, "run r"):
            began.set()

    with removing(store, "store gc"):
        thread = threading.Thread(target=use)
        thread.start()
        assert not began.wait(0.3)
        with pytest.raises(InputError, match=r"cleaned by store gc .*no file was removed"):
            remove_garbage(store, [])
    thread.join()
    assert began.is_set()
    assert lease_files(store) == []


@pytest.mark.parametrize("seconds", [leases.DURATION + 60, -10 * leases.DURATION])
def test_lease_without_renewal_ends(store: Store, shard: Shard, seconds: float) -> None:
    """Also of a process that was killed, or that came with a copy of a store."""
    key = commit_attack(store, shard, 1)
    with in_use(store, "run r"):
        (lease,) = lease_files(store)
        content = store.files.read(lease) or b""
    store.files.write(lease, content)
    age(store, lease, seconds)
    report = find_garbage(store, unreferenced=True, now=time.time() + LATER)
    remove_garbage(store, report.garbage)
    assert store.row(key) is None


def test_a_lease_is_renewed_and_survives_a_failed_renewal(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEWAL", 0.02)
    with in_use(store, "run r"):
        (lease,) = lease_files(store)
        age(store, lease, 5000)
        time.sleep(0.3)
        assert leases.users(store).startswith("run r (process ")
        with monkeypatch.context() as patch:
            patch.setattr(type(store.files), "write", failing)
            time.sleep(0.1)
        age(store, lease, 5000)
        time.sleep(0.3)
        assert leases.users(store)
    assert not leases.users(store)


def failing(*arguments: object) -> None:
    raise OSError("no space")


def test_removal_under_a_fast_clock_keeps_files_in_progress(
    store: Store, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = store.put_attack(shard.image_ids, images_of(shard, 1))
    now = time.time()
    with in_use(store, "run r"):
        monkeypatch.setattr(time, "time", lambda: now + 10 * LATER)
        report = find_garbage(store)
        assert remove_garbage(store, report.garbage) == 0
        assert store.files.info(orphan.path) is not None


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"who": 1}', b"[" * 100_000])
def test_foreign_lease_is_honoured(store: Store, text: bytes) -> None:
    store.files.write("leases/use-x.json", text)
    assert leases.users(store) == "an unknown program"


class Looking(Listener):
    """Notes who uses the store while an experiment runs."""

    def __init__(self, store: Store) -> None:
        self.store, self.seen = store, ""

    def planned(self, plan: object) -> None:
        self.seen = leases.users(self.store)


def test_a_run_holds_a_lease_to_its_end(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = Looking(store)
    run_toy(tmp_path, looking, attacks=ATTACKS)
    assert looking.seen.startswith("run experiment (process ")
    assert lease_files(store) == []
