"""The inputs of calls: shards and AEs as handles, read from the store when needed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from segtransfer.experiment.task import Task
from segtransfer.runtime.executors.base import Executor
from segtransfer.store import Store
from segtransfer.tasks.data.shards import Shard

MOST_SHARD_BYTES = 2**28


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
    """Handles of the shards and AEs for present or future calls.

    The shards used last are kept, up to ``MOST_SHARD_BYTES`` (256 MiB) of arrays; other shards are
    read again. AEs are kept until ``forget_images``.

    Args:
        executor: Makes the handles.
        store: The store of shards and AEs.
    """

    def __init__(self, executor: Executor, store: Store) -> None:
        self._executor = executor
        self._store = store
        # Shard id -> shard, images, labels, in the order of their last use.
        self._shards: dict[str, tuple[Shard, Any, Any]] = {}
        self._nbytes = 0  # of all these shards
        self._images: dict[str, Any] = {}  # attack key -> AEs

    def inputs(self, task: Task) -> CallInputs | None:
        """Return the inputs of a task's call, read from the store unless the cache has them.

        Args:
            task: The task.

        Returns:
            The inputs, or None if the shard is missing or damaged.

        Raises:
            OSError: If the store cannot be read.
        """
        held = self._shards.pop(task.shard_id, None)
        if held is None:
            shard = self._store.shard(task.shard_id)
            if shard is None:
                return None
            held = shard, self._executor.put(shard.images), self._executor.put(shard.labels)
            self._nbytes += shard.nbytes
        self._shards[task.shard_id] = shard, images, labels = held
        while self._nbytes > MOST_SHARD_BYTES and len(self._shards) > 1:
            self._forget_shard(next(iter(self._shards)))
        if task.depends_on is None:
            return CallInputs(shard, images, labels)
        if task.depends_on not in self._images:
            stored = self._store.attack_images(task.depends_on)
            if stored is None:
                return CallInputs(shard, None, labels)
            self._images[task.depends_on] = self._executor.put(stored)
        return CallInputs(shard, self._images[task.depends_on], labels)

    def put_images(self, attack: str, images: Any) -> None:
        """Keep the AEs of a call for their evaluations.

        Args:
            attack: Key of the attack.
            images: Handle of the AEs.
        """
        self._images[attack] = images

    def forget_images(self, attack: str) -> None:
        """Delete the handle of an attack's AEs, after their scores or after their loss."""
        self._images.pop(attack, None)

    def retain_shards(self, shard_ids: Iterable[str]) -> None:
        """Delete the handles of all other shards.

        Args:
            shard_ids: Shards to keep.
        """
        for name in self._shards.keys() - set(shard_ids):
            self._forget_shard(name)

    def _forget_shard(self, shard_id: str) -> None:
        """Delete the handles of a shard; arrays of running calls stay alive."""
        shard, _, _ = self._shards.pop(shard_id)
        self._nbytes -= shard.nbytes
