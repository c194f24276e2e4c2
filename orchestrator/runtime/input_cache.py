"""What calls take as inputs: shards and AEs as handles, fetched from the store where needed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from segtransfer.experiment.task import Task
from segtransfer.runtime.executors.base import Executor
from segtransfer.store import Store
from segtransfer.tasks.data.shards import Shard


@dataclass(frozen=True)
class CallInputs:
    """A call's shard, and handles; ``images`` is None where stored AEs are damaged."""

    shard: Shard
    images: Any
    labels: Any


class InputCache:
    """Handles of the shards and AEs that calls under way or to come may need."""

    def __init__(self, executor: Executor, store: Store) -> None:
        self._executor = executor
        self._store = store
        self._shards: dict[str, tuple[Shard, Any, Any]] = {}  # shard id -> shard, images, labels
        self._images: dict[str, Any] = {}  # attack key -> AEs

    def inputs(self, task: Task) -> CallInputs | None:
        """What a task's call needs; None where its shard is missing or damaged."""
        if task.shard_id not in self._shards:
            shard = self._store.shard(task.shard_id)
            if shard is None:
                return None
            put = self._executor.put
            self._shards[task.shard_id] = shard, put(shard.images), put(shard.labels)
        shard, images, labels = self._shards[task.shard_id]
        if task.depends_on is None:
            return CallInputs(shard, images, labels)
        if task.depends_on not in self._images:
            stored = self._store.attack_images(task.depends_on)
            if stored is None:
                return CallInputs(shard, None, labels)
            self._images[task.depends_on] = self._executor.put(stored)
        return CallInputs(shard, self._images[task.depends_on], labels)

    def put(self, attack: str, images: Any) -> None:
        """Keep the handle of AEs that were just made."""
        self._images[attack] = images

    def forget(self, attack: str) -> None:
        """Let AEs go: scored everywhere, or lost with a worker."""
        self._images.pop(attack, None)

    def keep(self, shard_ids: Iterable[str]) -> None:
        """Let all other shards go."""
        kept = set(shard_ids)
        self._shards = {name: held for name, held in self._shards.items() if name in kept}
