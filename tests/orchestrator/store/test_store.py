"""The store keeps whole results only: what is torn or altered is missing, never wrong."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from segtransfer.experiment.task import Task
from segtransfer.store import Evaluation, Store
from segtransfer.store.maintenance import compact
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import Shard, make_shards
from segtransfer.tasks.data.spec import DataSpec
from tests.orchestrator.toy_experiments import CLASSES, blob_of, write_images

ATTACK_KEY, SCORE_KEY = "aa" * 32, "bb" * 32
REPORT = {"cost": {"seconds": 0.25}, "perturbation": {"psnr": [float("inf"), 31.5]}}


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    spec = DataSpec(folder=str(write_images(tmp_path / "data", count=2)), classes=tuple(CLASSES))
    (shard,) = make_shards(open_dataset(spec), spec, groups=1, shard_size=8)
    return shard


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def attack_task(shard: Shard, key: str = ATTACK_KEY) -> Task:
    spec = AttackSpec.model_validate("pgd")
    return Task(key, "m", shard.shard_id, 1.0, 10, attack=spec)


def images(shard: Shard, seed: int = 0) -> np.ndarray:
    """Two images made of each of the shard's."""
    return np.random.default_rng(seed).integers(0, 256, (2, *shard.images.shape), np.uint8)


def commit_attack(store: Store, shard: Shard) -> np.ndarray:
    made = images(shard)
    store.commit_attack(attack_task(shard), shard, made, REPORT)
    return made


def commit_scores(store: Store, shard: Shard) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    confusions = generator.integers(0, 2**40, (len(shard.images), 3, 3))
    predictions = generator.integers(0, 3, shard.labels.shape, np.uint8)
    task = Task(SCORE_KEY, "n", shard.shard_id, 1.0, 0, depends_on=ATTACK_KEY)
    store.commit_evaluation(task, shard, confusions, predictions, REPORT)
    return confusions, predictions


def test_stored_aes_read_back_are_equal(store: Store, shard: Shard) -> None:
    made = commit_attack(store, shard)
    read = store.attack_images(ATTACK_KEY)
    assert read is not None
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, made)


def test_stored_confusions_and_predictions_read_back_are_equal(store: Store, shard: Shard) -> None:
    confusions, predictions = commit_scores(store, shard)
    read = store.evaluation(SCORE_KEY)
    assert read is not None
    assert read.image_ids == shard.image_ids
    assert read.confusions.dtype == np.int64
    np.testing.assert_array_equal(read.confusions, confusions)
    np.testing.assert_array_equal(read.predictions, predictions)


def test_a_row_keeps_its_report(store: Store, shard: Shard) -> None:
    commit_attack(store, shard)
    row = store.row(ATTACK_KEY)
    assert row is not None
    assert (row.key, row.kind, row.report) == (ATTACK_KEY, "attack", REPORT)


def test_stored_shard_read_back_is_equal(store: Store, shard: Shard) -> None:
    store.put_shard(shard)
    read = store.shard(shard.shard_id)
    assert read is not None
    assert (read.image_ids, read.sequences, read.group) == (
        shard.image_ids,
        shard.sequences,
        shard.group,
    )
    np.testing.assert_array_equal(read.images, shard.images)
    np.testing.assert_array_equal(read.labels, shard.labels)


def test_a_store_given_as_a_file_uri_is_the_same_store(store: Store, shard: Shard) -> None:
    made = commit_attack(store, shard)
    read = Store(f"file://{store.location}").attack_images(ATTACK_KEY)
    np.testing.assert_array_equal(read, made)


def test_keys_are_of_committed_tasks(store: Store, shard: Shard) -> None:
    assert store.keys() == set()
    commit_attack(store, shard)
    commit_scores(store, shard)
    assert store.keys() == {ATTACK_KEY, SCORE_KEY}


def test_a_failure_record_is_no_key(store: Store) -> None:
    store.record_failure(ATTACK_KEY, "attack", "Traceback: it broke")
    assert store.keys() == set()
    assert store.row(ATTACK_KEY) is None
    (record,) = Path(store.location, "failures").rglob("*.json")
    assert "it broke" in record.read_text()


def test_a_partial_file_left_by_a_crash_is_no_key(store: Store, shard: Shard) -> None:
    commit_attack(store, shard)
    (row,) = Path(store.location, "rows").rglob("*.parquet")
    row.with_name(".partial-abc").write_bytes(row.read_bytes())
    assert store.keys() == {ATTACK_KEY}


def test_a_finished_write_leaves_no_partial_file(store: Store, shard: Shard) -> None:
    commit_attack(store, shard)
    assert not list(Path(store.location).rglob(".partial-*"))


def test_a_crash_between_blob_and_row_leaves_the_task_not_done(
    store: Store, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    replace = os.replace

    def crash_at_the_second(source: str, target: Path) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        commit_attack(store, shard)
    monkeypatch.undo()
    assert "/blobs/" in written[0]
    assert store.keys() == set()
    assert store.attack_images(ATTACK_KEY) is None
    np.testing.assert_array_equal(commit_attack(store, shard), store.attack_images(ATTACK_KEY))


def files_of(store: Store, shard: Shard) -> dict[str, tuple[Path, Callable[[], object]]]:
    """Every kind of file, and how what it holds is read."""
    commit_attack(store, shard)
    commit_scores(store, shard)
    store.put_shard(shard)
    root = Path(store.location)
    return {
        "attack blob": (blob_of(store, ATTACK_KEY), lambda: store.attack_images(ATTACK_KEY)),
        "attack row": (next(root.rglob(f"{ATTACK_KEY}.*")), lambda: store.row(ATTACK_KEY)),
        "scores blob": (blob_of(store, SCORE_KEY), lambda: store.evaluation(SCORE_KEY)),
        "scores row": (next(root.rglob(f"{SCORE_KEY}.*")), lambda: store.evaluation(SCORE_KEY)),
        "shard": (next(root.rglob(f"{shard.shard_id}.*")), lambda: store.shard(shard.shard_id)),
    }


KINDS = ["attack blob", "attack row", "scores blob", "scores row", "shard"]


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_file_counts_as_missing(store: Store, shard: Shard, kind: str) -> None:
    path, read = files_of(store, shard)[kind]
    whole = path.read_bytes()
    assert read() is not None
    for length in {0, 1, 8, len(whole) // 3, len(whole) // 2, len(whole) - 9, len(whole) - 1}:
        path.write_bytes(whole[:length])
        assert read() is None, f"{length} of {len(whole)} bytes were read as a whole file"


@pytest.mark.parametrize("kind", KINDS)
def test_an_absent_file_counts_as_missing(store: Store, shard: Shard, kind: str) -> None:
    path, read = files_of(store, shard)[kind]
    path.unlink()
    assert read() is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_never_read_as_other_data(store: Store, shard: Shard, kind: str) -> None:
    path, read = files_of(store, shard)[kind]
    whole, expected = path.read_bytes(), as_plain(read())
    stride = len(whole) // 200 | 1
    missing = 0
    for place in range(0, len(whole), stride):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(bytes(flipped))
        found = read()
        missing += found is None
        assert found is None or as_plain(found) == expected, f"bit {place % 8} of byte {place}"
    # Only rows and shards hold bytes that carry no meaning: statistics, padding.
    assert missing == len(range(0, len(whole), stride)) if "blob" in kind else missing > 0


def as_plain(found: object) -> object:
    if isinstance(found, np.ndarray):
        return found.tobytes()
    if isinstance(found, Evaluation):
        return found.image_ids, found.confusions.tobytes(), found.predictions.tobytes()
    if isinstance(found, Shard):
        return found.image_ids, found.group, found.images.tobytes(), found.labels.tobytes()
    return found


def test_the_row_of_another_task_under_this_name_counts_as_missing(
    store: Store, shard: Shard
) -> None:
    other = "cc" * 32
    store.commit_attack(attack_task(shard, other), shard, images(shard, 5), REPORT)
    commit_attack(store, shard)
    root = Path(store.location)
    next(root.rglob(f"{other}.*")).replace(next(root.rglob(f"{ATTACK_KEY}.*")))
    assert store.attack_images(ATTACK_KEY) is None


def test_a_damaged_shard_is_written_again(store: Store, shard: Shard) -> None:
    store.put_shard(shard)
    (path,) = Path(store.location, "shards").rglob("*.arrow")
    path.write_bytes(path.read_bytes()[:-40])
    store.put_shard(shard)
    assert store.shard(shard.shard_id) is not None


def test_truncated_experiment_file_hides_no_other_experiment(store: Store) -> None:
    store.save_experiment("one", {"a": 1})
    store.save_experiment("two", {"b": [2, "x"]})
    Path(store.location, "experiments", "one.json").write_text('{"a": ')
    assert store.descriptions() == {"two": {"b": [2, "x"]}}


@pytest.fixture
def mount() -> Iterator[Callable[[str], Path]]:
    """Mounts a tmpfs, which binds root too; skips where this process may not mount."""
    mounted: list[str] = []

    def make(options: str) -> Path:
        if not mounted:
            mounted.append(tempfile.mkdtemp(prefix="st-tmpfs-", dir="/tmp"))
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", mounted[0]]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            os.rmdir(mounted[0])
            mounted.clear()
            pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
        return Path(mounted[0])

    yield make
    if mounted:
        subprocess.run(["umount", "--lazy", mounted[0]], check=False)
        os.rmdir(mounted[0])


def test_a_full_disk_raises_and_leaves_the_task_not_done(
    mount: Callable[[str], Path], shard: Shard
) -> None:
    store = Store(str(mount("size=8k") / "store"))
    sentence = (
        r"No space .* writing [\d,]+ bytes to blobs/.* of store .*: committed results are kept"
    )
    with pytest.raises(OSError, match=sentence):
        commit_attack(store, shard)
    assert store.keys() == set()


def test_compaction_on_a_full_disk_keeps_every_row(
    mount: Callable[[str], Path], shard: Shard
) -> None:
    folder = mount("size=1m")
    store = Store(str(folder / "store"))
    made = commit_attack(store, shard)
    commit_scores(store, shard)
    before = {key: store.row(key) for key in (ATTACK_KEY, SCORE_KEY)}
    free = os.statvfs(folder)
    (folder / "filler").write_bytes(bytes(free.f_bavail * free.f_bsize))
    with pytest.raises(OSError, match="No space"):
        compact(store)
    assert {key: store.row(key) for key in before} == before
    np.testing.assert_array_equal(store.attack_images(ATTACK_KEY), made)
    (folder / "filler").unlink()
    assert compact(store).rows == 2
    assert {key: store.row(key) for key in before} == before


def test_a_read_only_folder_raises_and_can_still_be_read(
    mount: Callable[[str], Path], shard: Shard
) -> None:
    folder = mount("size=4m")
    store = Store(str(folder / "store"))
    made = commit_attack(store, shard)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    with pytest.raises(OSError, match=r"Read-only .* of store .*; .* give another folder"):
        commit_scores(store, shard)
    assert store.keys() == {ATTACK_KEY}
    np.testing.assert_array_equal(store.attack_images(ATTACK_KEY), made)


def test_a_store_below_a_plain_file_raises(tmp_path: Path, shard: Shard) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="a part of this path is a plain file: give a folder"):
        commit_attack(Store(str(tmp_path / "file" / "store")), shard)
