"""A look at all stored results holds few files at a time, however many there are."""

import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from segtransfer.store import Store, arrays
from segtransfer.store.maintenance.healing import LostImages
from segtransfer.store.maintenance.reading import BUCKET_THREADS, THREADS, in_threads
from segtransfer.tasks.data.shards import Shard
from tests.orchestrator.stores import blob_path, commit_attack, flip, make_shard

MEBIBYTE = 2**20


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.mark.parametrize("remote", [False, True])
def test_in_threads_bounds_files_at_a_time_by_kind_of_store(store: Store, remote: bool) -> None:
    store.files.remote = remote
    lock, now, most = threading.Lock(), 0, 0

    def look(item: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return item

    assert list(in_threads(store, look, range(100))) == list(range(100))
    assert most <= (BUCKET_THREADS if remote else THREADS)
    assert THREADS <= 4


def test_lost_images_are_found_by_hash_without_decoding(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = make_shard(tmp_path)
    keys = [commit_attack(store, shard, number) for number in range(3)]
    flip(store, blob_path(store, keys[1]))
    monkeypatch.setattr(arrays, "decode_images", None)
    assert LostImages(store, keys).keys == {keys[1]}


def test_the_check_of_a_shard_copies_no_pixels() -> None:
    images = np.zeros((1, 3, 1024, 2048), np.uint8)
    labels = np.zeros((1, 1024, 2048), np.uint8)
    shard = Shard("0" * 64, 0, ("a",), ("",), images, labels)
    tracemalloc.start()
    try:
        assert not shard.intact()
        assert tracemalloc.get_traced_memory()[1] < MEBIBYTE
    finally:
        tracemalloc.stop()
