"""Upkeep: it loses nothing, copies nothing wrong, removes only what nobody needs."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.errors import InputError
from segtransfer.store import CommitRow, Store, rows
from segtransfer.store.files import Files
from segtransfer.store.maintenance import (
    compact,
    find_garbage,
    merge,
    open_existing,
    remove_garbage,
    verify,
)
from segtransfer.store.maintenance.compact import write_compacted
from segtransfer.store.rows import encode_rows, row_path
from segtransfer.store.store import shard_path
from segtransfer.tasks.data.shards import Shard
from tests.orchestrator.stores import (
    BACK_ENDS,
    blob_path,
    bucket_server,
    commit_attack,
    commit_scores,
    flip,
    images_of,
    key_of,
    make_shard,
    new_store,
)
from tests.orchestrator.toy_experiments import arrays, run_toy

runner = CliRunner()
LATER = 7200.0


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with bucket_server() as query:
        yield query


@pytest.fixture(params=BACK_ENDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Makes empty stores of every back end."""
    query = request.getfixturevalue("server") if request.param == "bucket" else ""
    return lambda: new_store(request.param, tmp_path, query)


@pytest.fixture
def store(make: Callable[[], Store]) -> Store:
    return make()


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return new_store("folder", tmp_path, "")


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    return make_shard(tmp_path)


def fill(store: Store, shard: Shard, count: int = 3) -> set[str]:
    """Attacks and their scores, with the shard and an experiment that names them."""
    store.put_shard(shard)
    attacks = [commit_attack(store, shard, number) for number in range(count)]
    scores = [commit_scores(store, shard, 100 + n, key) for n, key in enumerate(attacks)]
    cells = [["a", "s", "t", shard.shard_id, s, a] for s, a in zip(scores, attacks, strict=True)]
    store.save_experiment("first", {"cells": cells, "shards": [shard.shard_id]})
    return {*attacks, *scores}


def rows_of(store: Store) -> dict[str, CommitRow | None]:
    keys = store.keys()
    return {key: store.row(key) for key in keys}


def names(store: Store) -> set[str]:
    return set(store.files.names(""))


def kinds(store: Store) -> dict[str, str]:
    return {finding.path: finding.kind for finding in verify(store).findings}


# ---- verify


def test_a_whole_store_is_sound(store: Store, shard: Shard) -> None:
    keys = fill(store, shard)
    report = verify(store)
    assert report.findings == ()
    assert report.sound
    assert (report.rows, report.blobs, report.shards, report.experiments) == (len(keys), 6, 1, 1)
    compact(store)
    assert verify(store).findings == ()
    assert verify(store).rows == len(keys)


def test_every_kind_of_damage_is_named(store: Store, shard: Shard) -> None:
    fill(store, shard)
    damaged = [
        blob_path(store, key_of(0)),
        blob_path(store, key_of(101)),
        shard_path(shard.shard_id),
        "experiments/torn.json",
        row_path(key_of(2)),
    ]
    flip(store, damaged[0])
    store.files.delete(damaged[1])
    flip(store, damaged[2])
    store.files.write(damaged[3], b'{"a": ')
    store.files.write(damaged[4], (store.files.read(damaged[4]) or b"")[:-30])
    found = kinds(store)
    assert {path for path, kind in found.items() if kind == "damaged"} == set(damaged)
    assert not verify(store).sound


def test_unnamed_files_are_found_and_are_no_damage(local: Store, shard: Shard) -> None:
    fill(local, shard)
    orphan = local.put_attack(shard.image_ids, images_of(shard, 77))
    local.files.write("rows/00/.partial-x", b"half")
    local.files.write("notes.txt", b"mine")
    local.files.write("reports/a/matrices.png", b"drawn")
    assert kinds(local) == {
        orphan.path: "orphaned",
        "rows/00/.partial-x": "partial",
        "notes.txt": "foreign",
    }
    assert verify(local).sound


def test_a_blob_whose_arrays_are_of_another_shard_is_damage(local: Store, tmp_path: Path) -> None:
    shard, other = make_shard(tmp_path), make_shard(tmp_path, seed=5)
    local.put_shard(shard)
    renamed = Shard(shard.shard_id, 0, ("x", "y"), other.sequences, other.images, other.labels)
    commit_attack(local, renamed, 1)
    (finding,) = verify(local).findings
    assert "differ from the images of the shard" in finding.sentence


# ---- compact


def test_compacting_changes_no_key_and_no_row(store: Store, shard: Shard) -> None:
    keys = fill(store, shard)
    before, reader = rows_of(store), Store(store.location)
    reader.keys()
    report = compact(store)
    assert (report.rows, report.files, report.replaced) == (len(keys), 1, len(keys))
    assert store.files.names("rows") == []
    for view in (store, reader, Store(store.location)):
        assert view.keys() == keys
        assert rows_of(view) == before
    np.testing.assert_array_equal(store.attack_images(key_of(1)), images_of(shard, 1))
    assert compact(store).rows == 0


def test_small_compacted_files_are_joined(
    store: Store, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "ROWS_PER_GROUP", 2)
    keys = fill(store, shard)
    compact(store)
    keys |= {commit_attack(store, shard, number) for number in range(10, 13)}
    before = rows_of(store)
    assert compact(store).files == 1
    assert len(store.files.names("compacted")) == 1
    assert rows_of(store) == before
    assert before.keys() == keys


def test_overlapping_compacted_files_are_joined(local: Store, shard: Shard) -> None:
    """Two compactions at once may leave them: here the newer file holds one row again."""
    fill(local, shard)
    old = [row for row in rows_of(local).values() if row]
    commit_attack(local, shard, 0, seed=99)
    new = local.row(key_of(0))
    assert new is not None
    compact(local)
    write_compacted(local, old)
    write_compacted(local, [*old[:2], new])
    before = rows_of(local)
    assert len(local.files.names("compacted")) == 3
    report = compact(local)
    assert (report.files, report.left) == (1, ())
    assert len(local.files.names("compacted")) == 1
    assert rows_of(local) == before
    assert before[key_of(0)] == new
    assert len(before) == verify(local).rows == 6


class Interrupted(BaseException):
    pass


def interrupted_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Stop at this one of all writes and removals."""
    steps = iter(range(step + 1))

    def stopping(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Files, *arguments: Any) -> Any:
            if next(steps, None) in (step, None):
                raise Interrupted
            return method(self, *arguments)

        return call

    for name in ("write", "delete"):
        monkeypatch.setattr(Files, name, stopping(getattr(Files, name)))


@pytest.mark.parametrize("step", range(11))
def test_compaction_stopped_at_any_step_keeps_every_row(
    local: Store, shard: Shard, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(local, shard)
    compact(local)
    for number in range(20, 25):
        commit_attack(local, shard, number)
    before = rows_of(local)
    with monkeypatch.context() as patch:
        interrupted_at(patch, step)
        # A lease and a file are written; five rows, a file and the lease are removed.
        if step < 9:
            with pytest.raises(Interrupted):
                compact(local)
        else:
            compact(local)
    assert rows_of(Store(local.location)) == before
    compact(local)
    assert rows_of(Store(local.location)) == before
    names = [name for name in local.files.names("") if not name.startswith("leases/")]
    assert len(names) == len(before) + 3  # blobs, rows, shard, experiment


def test_result_computed_after_compaction_takes_precedence(store: Store, shard: Shard) -> None:
    fill(store, shard)
    compact(store)
    commit_attack(store, shard, 0, seed=99)
    np.testing.assert_array_equal(store.attack_images(key_of(0)), images_of(shard, 99))
    compact(store)
    np.testing.assert_array_equal(store.attack_images(key_of(0)), images_of(shard, 99))


def test_row_written_during_its_compaction_is_kept(
    local: Store, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(local, shard)
    write = Files.write

    def write_and_commit(self: Files, path: str, content: bytes) -> None:
        write(self, path, content)
        if path.startswith("compacted/"):
            monkeypatch.undo()
            commit_attack(local, shard, 0, seed=99)

    monkeypatch.setattr(Files, "write", write_and_commit)
    compact(local)
    np.testing.assert_array_equal(local.attack_images(key_of(0)), images_of(shard, 99))


def test_a_listing_while_rows_are_compacted_misses_none(
    local: Store, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = fill(local, shard)
    names = Files.names

    def list_then_compact(self: Files, folder: str) -> list[str]:
        found = names(self, folder)
        monkeypatch.undo()
        assert compact(Store(local.location)).rows == len(keys)
        return found

    monkeypatch.setattr(Files, "names", list_then_compact)
    assert local.keys() == keys


def test_compactions_at_once_hide_no_row_from_a_reader(local: Store, shard: Shard) -> None:
    keys = fill(local, shard, count=8)
    stop, seen, looks = threading.Event(), [], 0

    def watch() -> None:
        reader = Store(local.location)
        while not stop.is_set():
            seen.append(keys - reader.keys() | {key for key in keys if reader.row(key) is None})

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(50, 56):
        commit_attack(local, shard, number)
        both = [threading.Thread(target=lambda: compact(Store(local.location))) for _ in "ab"]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
    stop.set()
    watcher.join()
    looks = len(seen)
    assert looks > 3
    assert not any(seen)
    assert local.keys() == keys | {key_of(number) for number in range(50, 56)}


def test_damage_to_compacted_rows_is_never_read_as_other_rows(local: Store, shard: Shard) -> None:
    fill(local, shard)
    compact(local)
    before = rows_of(local)
    (path,) = local.files.names("compacted")
    whole = Path(local.location, path).read_bytes()
    missing = 0
    for place in range(0, len(whole), len(whole) // 150 | 1):
        altered = bytearray(whole)
        altered[place] ^= 1 << place % 8
        Path(local.location, path).write_bytes(altered)
        found = {key: Store(local.location).row(key) for key in before}
        assert all(row in (None, before[key]) for key, row in found.items()), place
        missing += None in found.values()
    assert missing > 50
    Path(local.location, path).write_bytes(whole[:-1])
    assert Store(local.location).keys() == set()
    assert kinds(Store(local.location))[path] == "damaged"


def test_a_run_after_compacting_computes_nothing(tmp_path: Path) -> None:
    first = run_toy(tmp_path)
    compact(first.store)
    again = run_toy(tmp_path)
    assert first.computed > 0
    assert again.computed == 0
    assert arrays(again).keys() == arrays(first).keys()


# ---- merge


def test_merge_copies_missing_results(make: Callable[[], Store], shard: Shard) -> None:
    ours, theirs = make(), make()
    fill(theirs, shard)
    compact(theirs)
    commit_attack(theirs, shard, 9)
    commit_attack(ours, shard, 0)
    report = merge(ours, theirs)
    assert (report.rows, report.shards, report.experiments) == (6, 1, 1)
    assert report.notes == ()
    assert ours.keys() == theirs.keys()
    assert verify(ours).findings == ()
    assert ours.descriptions() == theirs.descriptions()
    assert merge(ours, theirs).rows == 0


def test_merge_leaves_out_damaged_results_and_replaces_missing_blobs(
    make: Callable[[], Store], shard: Shard
) -> None:
    ours, theirs = make(), make()
    for store in (ours, theirs):
        fill(store, shard)
    commit_attack(theirs, shard, 9)
    flip(theirs, blob_path(theirs, key_of(9)))
    ours.files.delete(blob_path(ours, key_of(1)))
    report = merge(ours, theirs)
    assert report.rows == 1
    assert report.notes == ("left out 1 rows whose blob is missing or damaged",)
    assert ours.row(key_of(9)) is None
    assert verify(ours).findings == ()


def test_merge_leaves_out_scores_of_other_aes(local: Store, tmp_path: Path, shard: Shard) -> None:
    theirs = new_store("folder", tmp_path, "")
    attack = commit_attack(local, shard, 1, seed=1)
    commit_attack(theirs, shard, 1, seed=2)
    scores = commit_scores(theirs, shard, 101, attack)
    report = merge(local, theirs)
    assert local.row(scores) is None
    assert len(report.notes) == 2
    np.testing.assert_array_equal(local.attack_images(attack), images_of(shard, 1))


@pytest.mark.parametrize("step", range(9))
def test_merge_stopped_at_any_step_leaves_a_sound_store(
    local: Store, tmp_path: Path, shard: Shard, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = new_store("folder", tmp_path, "")
    fill(theirs, shard, count=2)
    with monkeypatch.context() as patch:
        interrupted_at(patch, step)
        with pytest.raises(Interrupted):
            merge(local, theirs)
    assert verify(local).sound
    merge(local, theirs)
    assert local.keys() == theirs.keys()


def test_a_row_can_name_no_file_outside_its_store(local: Store, tmp_path: Path) -> None:
    theirs = new_store("folder", tmp_path, "")
    bad = CommitRow(
        key_of(1), "attack", "../../escaped", "ab" * 32, {}, "2026-01-01T00:00:00+00:00"
    )
    theirs.files.write(row_path(bad.key), encode_rows([bad]))
    assert theirs.row(bad.key) is None
    merge(local, theirs)
    assert names(local) == set()


def test_only_stores_are_merged(local: Store, shard: Shard, tmp_path: Path) -> None:
    fill(local, shard)
    with pytest.raises(InputError, match="into itself"):
        merge(local, Store(local.location))
    with pytest.raises(InputError, match="holds no store"):
        open_existing(str(tmp_path / "nothing"))


# ---- gc


def test_gc_finds_and_removes_unneeded_files_only(store: Store, shard: Shard) -> None:
    fill(store, shard)
    store.record_failure(key_of(1), "attack", "broke")
    commit_attack(store, shard, 1)
    store.record_failure("ee" * 32, "attack", "still broken")
    needed = names(store) - {f"failures/01/{key_of(1)}.json"}
    orphan = store.put_attack(shard.image_ids, images_of(shard, 77))
    store.files.write("rows/00/.partial-x", b"half")
    store.files.write("notes.txt", b"mine")
    report = find_garbage(store, now=time.time() + LATER)
    assert names(store) - {item.info.path for item in report.garbage} == needed | {"notes.txt"}
    assert remove_garbage(store, report.garbage) > orphan.nbytes
    assert names(store) == needed | {"notes.txt"}


def test_gc_keeps_files_younger_than_an_hour(store: Store, shard: Shard) -> None:
    fill(store, shard)
    store.put_attack(shard.image_ids, images_of(shard, 77))
    store.files.write("rows/00/.partial-x", b"half")
    assert find_garbage(store, now=time.time() + 3000).garbage == ()
    assert len(find_garbage(store, now=time.time() + LATER).garbage) == 2


def test_gc_keeps_a_blob_written_since_the_listing(local: Store, shard: Shard) -> None:
    fill(local, shard)
    local.put_attack(shard.image_ids, images_of(shard, 77))
    report = find_garbage(local, now=time.time() + LATER)
    again = local.put_attack(shard.image_ids, images_of(shard, 77))
    assert len(report.garbage) == 1
    assert remove_garbage(local, report.garbage) == 0
    assert again.path in names(local)


@pytest.mark.parametrize("compacted", [False, True])
def test_gc_of_an_experiment_deletes_its_exclusive_files(
    store: Store, shard: Shard, tmp_path: Path, compacted: bool
) -> None:
    keys = fill(store, shard)
    other = make_shard(tmp_path, seed=5)
    store.put_shard(other)
    mine = commit_attack(store, other, 50)
    cell = ["a", "s", "t", other.shard_id, mine, key_of(0)]
    store.save_experiment("second", {"cells": [cell], "shards": [other.shard_id]})
    if compacted:
        compact(store)
    now = time.time() + LATER
    assert find_garbage(store, unreferenced=True, now=now).garbage == ()
    report = find_garbage(store, experiments=["first"], unreferenced=True, now=now)
    remove_garbage(store, report.garbage)
    assert store.descriptions().keys() == {"second"}
    assert store.keys() == {mine, key_of(0)}
    assert store.keys() < keys | {mine}
    assert verify(store).findings == ()
    assert store.shard(shard.shard_id) is not None, "a row that stays is of this shard"
    assert len(store.files.names("blobs")) == 2


def test_gc_keeps_results_of_trials(local: Store, shard: Shard) -> None:
    fill(local, shard)
    mine = commit_attack(local, shard, 50)
    now = time.time() + LATER
    cell = ["a", "s", "t", shard.shard_id, mine, None]
    local.save_trial("a-search", 3, {"cells": [cell], "shards": [shard.shard_id]})
    assert find_garbage(local, unreferenced=True, now=now).garbage == ()
    local.files.write("searches/a-search/trial-3.json", b"{")
    with pytest.raises(InputError, match=r"trial-3.json .* cannot be read"):
        find_garbage(local, unreferenced=True, now=now)


def test_merge_copies_the_trials_of_searches(tmp_path: Path, shard: Shard) -> None:
    ours, theirs = Store(str(tmp_path / "ours")), Store(str(tmp_path / "theirs"))
    fill(theirs, shard)
    theirs.save_trial("a-search", 0, {"cells": [], "shards": []})
    merge(ours, theirs)
    assert ours.trial("a-search", 0) == {"cells": [], "shards": []}
    assert ours.trial("a-search", 1) is None
    assert verify(ours).findings == ()


def test_gc_keeps_every_blob_while_a_row_is_unreadable(local: Store, shard: Shard) -> None:
    fill(local, shard)
    path = row_path(key_of(0))
    local.files.write(path, b"torn")
    report = find_garbage(local, now=time.time() + LATER)
    assert [item.info.path for item in report.garbage] == [path]
    assert "which blobs are needed is not known" in report.notes[0]


def test_gc_with_an_unreadable_description_refuses(local: Store, shard: Shard) -> None:
    fill(local, shard)
    local.files.write("experiments/torn.json", b"{")
    with pytest.raises(InputError, match=r"torn.json .* cannot be read"):
        find_garbage(local, unreferenced=True)


# ---- the command


@pytest.fixture
def orphaned(local: Store, shard: Shard, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, str]:
    """A store with a blob of an earlier day that no row names."""
    fill(local, shard)
    orphan = local.put_attack(shard.image_ids, images_of(shard, 77)).path
    now = time.time()
    monkeypatch.setattr("segtransfer.store.maintenance.gc.time.time", lambda: now + LATER)
    return local, orphan


@pytest.mark.parametrize(("answer", "stays"), [("n\n", True), ("y\n", False)])
def test_gc_asks_before_deletion(
    orphaned: tuple[Store, str], answer: str, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, orphan = orphaned
    monkeypatch.setattr("segtransfer.cli.store.is_interactive", lambda: True)
    output = runner.invoke(app, ["store", "gc", store.location], input=answer).output
    assert "Remove all of these?" in output
    assert (orphan in names(store)) is stays


def test_gc_without_a_terminal_deletes_nothing(orphaned: tuple[Store, str]) -> None:
    store, orphan = orphaned
    answer = runner.invoke(app, ["store", "gc", store.location])
    assert answer.exit_code == 2
    assert "add --yes" in answer.output
    assert orphan in names(store)
    assert runner.invoke(app, ["store", "gc", store.location, "--yes"]).exit_code == 0
    assert orphan not in names(store)


def test_the_command_verifies_merges_and_compacts(
    local: Store, tmp_path: Path, shard: Shard
) -> None:
    theirs = new_store("folder", tmp_path, "")
    fill(theirs, shard)
    answer = runner.invoke(app, ["store", "merge", local.location, theirs.location])
    assert (answer.exit_code, "Copied 6 results" in answer.output) == (0, True), answer.output
    answer = runner.invoke(app, ["store", "compact", local.location])
    assert (answer.exit_code, "Wrote 6 rows into 1 files" in answer.output) == (0, True)
    answer = runner.invoke(app, ["store", "verify", local.location])
    assert (answer.exit_code, "all are sound" in answer.output) == (0, True)
    flip(local, blob_path(local, key_of(1)))
    answer = runner.invoke(app, ["store", "verify", local.location])
    assert answer.exit_code == 1
    assert blob_path(local, key_of(1)) in answer.output
    answer = runner.invoke(app, ["store", "verify", str(tmp_path / "nothing")])
    assert answer.exit_code == 2
    assert "holds no store" in answer.output
