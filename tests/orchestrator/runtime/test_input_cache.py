"""The input cache reads a shard once, and no longer holds more than its share of memory."""

from pathlib import Path
from typing import Any

import pytest

from segtransfer.experiment.plan import make_plan
from segtransfer.runtime import input_cache
from segtransfer.runtime.executors.inline.executor import InlineExecutor
from segtransfer.runtime.input_cache import InputCache
from segtransfer.store import Store
from segtransfer.tasks.data.shards import Shard
from tests.orchestrator.toy_experiments import toy_experiment


class CountingStore(Store):
    """A store that counts the shards that are read from it."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.reads: list[str] = []

    def shard(self, shard_id: str) -> Shard | None:
        self.reads.append(shard_id)
        return super().shard(shard_id)


@pytest.fixture
def filled(tmp_path: Path) -> tuple[InputCache, CountingStore, list[Any]]:
    """A cache, its store, and a task of clean images per shard."""
    store = CountingStore(str(tmp_path / "store"))
    plan = make_plan(toy_experiment(tmp_path, attacks=["noise"]), store, store.put_shard)
    tasks = {t.shard_id: t for t in plan.tasks.values() if t.depends_on is None and t.model}
    store.reads.clear()
    return InputCache(InlineExecutor(micro_batch=4), store), store, [*tasks.values()]


def test_shards_within_the_cache_are_read_once(
    filled: tuple[InputCache, CountingStore, list[Any]],
) -> None:
    cache, store, tasks = filled
    for task in tasks * 2:
        assert cache.inputs(task) is not None
    assert store.reads == [task.shard_id for task in tasks]


def test_least_recently_used_shard_is_dropped(
    filled: tuple[InputCache, CountingStore, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, store, (first, second, third, *_) = filled
    sizes = [shard.nbytes for t in (first, second, third) if (shard := store.shard(t.shard_id))]
    store.reads.clear()
    monkeypatch.setattr(input_cache, "MOST_SHARD_BYTES", sizes[0] + max(sizes[1:]))
    for task in (first, second, first, third, first, second):
        inputs = cache.inputs(task)
        assert inputs is not None
        assert inputs.shard.shard_id == task.shard_id
    assert store.reads == [t.shard_id for t in (first, second, third, second)]


def test_shard_larger_than_the_cache_is_kept_for_its_call(
    filled: tuple[InputCache, CountingStore, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, _, (task, *_) = filled
    monkeypatch.setattr(input_cache, "MOST_SHARD_BYTES", 1)
    assert cache.inputs(task) is not None
    cache.retain_shards([])
    assert cache._shards == {}
    assert cache._nbytes == 0
