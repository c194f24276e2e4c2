"""What every back end of the store promises: a local folder, and a bucket behind an S3 server."""

import io
import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segtransfer.errors import InputError
from segtransfer.experiment.task import Task
from segtransfer.store import Store
from segtransfer.store.files import StoreError
from segtransfer.store.rows import row_path
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.shards import Shard
from tests.orchestrator.stores import (
    BACK_ENDS,
    REPORT,
    blob_path,
    bucket_server,
    commit_attack,
    commit_scores,
    flip,
    images_of,
    make_shard,
    new_store,
)
from tests.orchestrator.toy_experiments import assert_same_bits, run_toy


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with bucket_server() as query:
        yield query


@pytest.fixture(params=BACK_ENDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    query = request.getfixturevalue("server") if request.param == "bucket" else ""
    return new_store(request.param, tmp_path, query)


@pytest.fixture
def bucket(server: str, tmp_path: Path) -> Store:
    return new_store("bucket", tmp_path, server)


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    return make_shard(tmp_path)


def test_an_empty_store_is_a_store(store: Store) -> None:
    assert store.keys() == set()
    assert store.row("ab" * 32) is None
    assert store.attack_images("ab" * 32) is None
    assert store.shard("ab" * 32) is None
    assert store.descriptions() == {}


def test_committed_results_read_back_are_equal(store: Store, shard: Shard) -> None:
    attack = commit_attack(store, shard, 1)
    scores = commit_scores(store, shard, 2, attack)
    np.testing.assert_array_equal(store.attack_images(attack), images_of(shard, 1))
    evaluation, row = store.evaluation(scores), store.row(scores)
    assert evaluation is not None
    assert row is not None
    generator = np.random.default_rng(2)
    np.testing.assert_array_equal(evaluation.confusions, generator.integers(0, 2**40, (2, 3, 3)))
    assert evaluation.image_ids == shard.image_ids
    assert (row.report, row.images, row.shard) == (REPORT, attack, shard.shard_id)
    assert store.keys() == {attack, scores}


def test_a_blob_without_its_row_is_no_result(store: Store, shard: Shard) -> None:
    blob = store.put_attack(shard.image_ids, images_of(shard, 1))
    assert store.keys() == set()
    task = Task("ab" * 32, "m", shard.shard_id, 1.0, 1, attack=AttackSpec.model_validate("pgd"))
    store.commit(task, blob, REPORT)
    assert store.keys() == {task.key}
    content = store.files.read(blob.path)
    assert content is not None
    assert len(content) == blob.nbytes
    np.testing.assert_array_equal(store.attack_images(task.key), images_of(shard, 1))


def test_shards_experiments_and_failures_are_read_back(store: Store, shard: Shard) -> None:
    store.put_shard(shard)
    store.save_experiment("one", {"a": 1})
    store.record_failure("ab" * 32, "attack", "it broke")
    kept = store.shard(shard.shard_id)
    assert kept is not None
    np.testing.assert_array_equal(kept.images, shard.images)
    np.testing.assert_array_equal(kept.labels, shard.labels)
    assert store.descriptions() == {"one": {"a": 1}}
    assert b"it broke" in (store.files.read(f"failures/ab/{'ab' * 32}.json") or b"")
    assert store.keys() == set()


def test_a_store_may_be_sent_to_another_process(store: Store, shard: Shard) -> None:
    key = commit_attack(store, shard, 1)
    sent = pickle.loads(pickle.dumps(store))
    assert (sent.location, sent.remote) == (store.location, store.remote)
    np.testing.assert_array_equal(sent.attack_images(key), images_of(shard, 1))


def test_only_a_bucket_is_remote(store: Store) -> None:
    assert store.remote == store.location.startswith("s3://")


def test_damage_counts_as_missing_until_committed_again(store: Store, shard: Shard) -> None:
    attack, scores = commit_attack(store, shard, 1), commit_scores(store, shard, 2)
    for key, read in ((attack, store.attack_images), (scores, store.evaluation)):
        for path in (blob_path(store, key), row_path(key)):
            whole = store.files.read(path) or b""
            assert read(key) is not None
            for torn in (b"", whole[:1], whole[: len(whole) // 2], whole[:-1], b"PAR1" * 50):
                store.files.write(path, torn)
                assert read(key) is None, f"{len(torn)} of {len(whole)} bytes of {path}"
            store.files.write(path, whole)
        flip(store, blob_path(store, key))
        assert read(key) is None
    commit_attack(store, shard, 1)
    commit_scores(store, shard, 2)
    assert store.attack_images(attack) is not None
    assert store.evaluation(scores) is not None


def test_row_with_changed_values_is_ignored(store: Store, shard: Shard) -> None:
    key = commit_attack(store, shard, 1)
    table = pq.read_table(io.BytesIO(store.files.read(row_path(key)) or b""))
    report = pa.array([table["report"][0].as_py().replace("255.0", "254.0")])
    sink = io.BytesIO()
    pq.write_table(table.set_column(table.schema.get_field_index("report"), "report", report), sink)
    store.files.write(row_path(key), sink.getvalue())
    assert store.row(key) is None


def test_a_row_of_a_store_from_before_rows_were_hashed_is_read(store: Store, shard: Shard) -> None:
    key = commit_attack(store, shard, 1)
    row, table = store.row(key), pq.read_table(io.BytesIO(store.files.read(row_path(key)) or b""))
    sink = io.BytesIO()
    pq.write_table(table.drop_columns("row_sha256"), sink)
    store.files.write(row_path(key), sink.getvalue())
    assert store.row(key) == row
    assert row is not None


def test_foreign_and_empty_files_are_no_keys(store: Store, shard: Shard) -> None:
    key = commit_attack(store, shard, 1)
    content = store.files.read(row_path(key)) or b""
    strangers = [
        "rows/notes.txt",
        f"rows/{key[:2]}/copy of {key}.parquet",
        f"rows/{key[:2]}/.partial-x1",
        f"rows/00/{'ff' * 32}.parquet",
        f"compacted/{'ab' * 32}.parquet",
        "compacted/table.parquet",
        ".DS_Store",
    ]
    for path in strangers:
        store.files.write(path, content[:100])
    assert store.keys() == {key}
    assert store.row("ff" * 32) is None
    assert store.row(key) is not None


def test_an_empty_object_is_no_key(bucket: Store) -> None:
    bucket.files.write(row_path("ab" * 32), b"")
    assert bucket.keys() == set()


def test_object_is_visible_only_after_close(bucket: Store) -> None:
    system, root = bucket.files._bucket
    path = row_path("ab" * 32)
    stream = system.open_output_stream(f"{root}/{path}")
    stream.write(b"x" * 12_000_000)  # more than one part
    assert bucket.files.read(path) is None
    assert bucket.keys() == set()
    stream.close()
    assert bucket.keys() == {"ab" * 32}


def test_commits_of_the_same_key_by_two_drivers_leave_a_whole_result(
    store: Store, shard: Shard
) -> None:
    stop, wrong = threading.Event(), []
    candidates = [images_of(shard, seed).tobytes() for seed in (1, 2)]

    def drive(seed: int) -> None:
        mine = Store(store.location)
        for _ in range(8):
            commit_attack(mine, shard, 7, seed)

    key = commit_attack(store, shard, 7, 1)

    def watch() -> None:
        mine, looks = Store(store.location), 0
        while not stop.is_set() or looks < 5:
            looks += 1
            images = mine.attack_images(key)
            if images is None or images.tobytes() not in candidates or mine.keys() != {key}:
                wrong.append(images)

    watcher = threading.Thread(target=watch)
    drivers = [threading.Thread(target=drive, args=(seed,)) for seed in (1, 2)]
    for thread in (watcher, *drivers):
        thread.start()
    for thread in drivers:
        thread.join()
    stop.set()
    watcher.join()
    assert not wrong
    assert not [name for name in store.files.names("") if ".partial-" in name]


def test_file_changed_during_a_read_is_read_until_stable(
    tmp_path: Path, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store("folder", tmp_path, "")
    row = store.row(commit_attack(store, shard, 1))
    assert row is not None
    whole = store.files.read(row.blob)
    assert whole is not None
    arriving: list[bytes | None] = [whole[:9], whole[:5], whole]
    monkeypatch.setattr(store.files, "read", lambda path: arriving.pop(0))
    assert store.blob(row) == whole
    arriving = [whole[:9], whole[:5], whole[:5], whole]
    assert store.blob(row) is None, "damaged: it stays as it is"
    arriving = [whole[:9], None, whole]
    assert store.blob(row) is None, "gone"


def test_every_write_of_a_folder_is_synced_with_its_folder(
    tmp_path: Path, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = os.fsync

    def note(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        sync(handle)

    monkeypatch.setattr(os, "fsync", note)
    store = Store(str(tmp_path / "store"))
    key = commit_attack(store, shard, 1)
    blob = os.path.dirname(f"{store.location}/{blob_path(store, key)}")
    row = os.path.dirname(f"{store.location}/{row_path(key)}")
    assert synced.index(blob) < synced.index(row)
    for made in (store.location, f"{store.location}/blobs", f"{store.location}/rows"):
        assert made in synced, "a new folder is durable only with the one that holds it"


def test_missing_bucket_is_an_error_with_the_remedy(server: str) -> None:
    with pytest.raises(
        InputError, match=r"bucket 'nowhere' of store .* does not exist; create the bucket"
    ):
        Store(f"s3://nowhere/p?{server}").keys()


def test_silent_endpoint_is_an_error_with_the_remedy(server: str) -> None:
    store = Store("s3://results/p?endpoint_override=127.0.0.1:9&scheme=http")
    with pytest.raises(StoreError, match="nothing answers there: check endpoint_override"):
        store.keys()


def test_refused_credentials_are_an_error_with_the_remedy(bucket: Store, server: str) -> None:
    import urllib.request

    host = server.split("=")[1].split("&")[0]

    def allow(requests: str) -> None:
        url = f"http://{host}/moto-api/reset-auth"
        headers = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, requests.encode(), headers))

    allow("0")
    try:
        with pytest.raises(StoreError, match=r"refuses these credentials.*AWS_ACCESS_KEY_ID"):
            bucket.keys()
    finally:
        allow("inf")
    assert bucket.keys() == set()


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("hdfs://host/p", "a store is a folder or a bucket .* not hdfs://"),
        ("s3://me:secret@results/p", "leave the credentials out of the URL"),
        ("s3://", "names no bucket"),
        ("file://folder/store", "no usable URL"),
        ("s3://results/p?colour=red", "no usable URL: .*colour"),
    ],
)
def test_a_wrong_location_is_an_input_error(location: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        Store(location).keys()
    assert "secret" not in str(raised.value)


def test_results_in_a_bucket_and_in_a_folder_are_equal(bucket: Store, tmp_path: Path) -> None:
    oracle = run_toy(tmp_path)
    results = run_toy(tmp_path, runtime={"store": bucket.location})
    assert results.computed == oracle.computed > 0
    assert_same_bits(results, oracle)
    assert run_toy(tmp_path, runtime={"store": bucket.location}).computed == 0


def test_store_error_of_another_process_is_equal() -> None:
    error = pickle.loads(pickle.dumps(StoreError(28, "No space left")))
    assert (error.errno, str(error)) == (28, "No space left")
