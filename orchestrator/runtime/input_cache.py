"""The inputs of calls: shards and AEs as handles, read from the store when needed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from segtransfer.experiment.task import Task
from segtransfer.runtime.executors.base import Executor
from segtransfer.store import Store
from segtransfer.tasks.data.shards import Shard


@dataclass(frozen=True)
class CallInputs:
    """The inputs of a call.

    Attributes:
        shard: The shard of the call.
        images: Handle of the images to attack or score. None if stored AEs are damaged.
        labels: Handle of the labels.
    """

    shard: Shard
    images: Any
    labels: Any


class InputCache:
    """Handles of the shards and AEs that present or future calls may need."""

    def __init__(self, executor: Executor, store: Store) -> None:
        self._executor = executor
        self._store = store
        self._shards: dict[str, tuple[Shard, Any, Any]] = {}  # shard id -> shard, images, labels
        self._images: dict[str, Any] = {}  # attack key -> AEs

    def inputs(self, task: Task) -> CallInputs | None:
        """Return the inputs of a task's call, or None if the shard is missing or damaged.

        Raises:
            OSError: If the store cannot be read.
        """
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

    def put_images(self, attack: str, images: Any) -> None:
        """Keep the handle of AEs that a call has made."""
        self._images[attack] = images

    def forget_images(self, attack: str) -> None:
        """Delete the handle of AEs that are scored, or lost with a worker."""
        self._images.pop(attack, None)

    def retain_shards(self, shard_ids: Iterable[str]) -> None:
        """Delete the handles of all shards but these."""
        kept = set(shard_ids)
        self._shards = {name: held for name, held in self._shards.items() if name in kept}
