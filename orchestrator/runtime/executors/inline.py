"""The inline executor: every model in this process, one call at a time, one torch thread.

The oracle that other executors are compared with, and the one to debug with.
"""

import time
import traceback
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from segtransfer.experiment.task import Task
from segtransfer.runtime.executors.base import (
    Event,
    Failed,
    Finished,
    Hosted,
    Refused,
    Served,
    SlotDown,
    SlotUp,
    perform,
)
from segtransfer.runtime.scheduler import Slot
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.memory import keep_freed_memory
from segtransfer.tasks.models import adapters as models
from segtransfer.tasks.models.base import Segmenter


class InlineExecutor:
    """As many slots as there are models, all in this process."""

    interruptible = False

    def __init__(self, *, micro_batch: int) -> None:
        torch.set_num_threads(1)
        keep_freed_memory()
        self._micro_batch = micro_batch
        self._models: dict[str, Segmenter | None] = {}
        self._events: deque[Event] = deque()
        self._calls: deque[tuple[Task, str, Shard, np.ndarray, np.ndarray]] = deque()

    def open(self, models: int, sources: int = 0, peaks: Sequence[int] = ()) -> None:
        for number in range(len(self._models), max(1, models)):
            slot = Slot(f"inline-{number}", "inline", width=1)
            self._models[slot.slot_id] = None
            self._events.append(SlotUp(slot))

    def starting(self) -> bool:
        return any(isinstance(event, SlotUp) for event in self._events)

    def awaited(self) -> str:
        return ""

    def budget(self) -> int:
        return 2 * 2**30

    def host(self, slot_id: str, model: str, served: Served) -> None:
        device, begun = "cuda" if torch.cuda.is_available() else "cpu", time.perf_counter()
        self._models[slot_id] = None
        try:
            self._models[slot_id] = models.load(served.spec, device, served.numerics)
            self._events.append(Hosted(slot_id, model, time.perf_counter() - begun))
        except Exception as error:
            self._events.append(Refused(slot_id, model, str(error)))

    def put(self, array: np.ndarray) -> np.ndarray:
        return array

    def fetch(self, handle: Any) -> np.ndarray:
        return handle

    def start(self, task: Task, slot_id: str, shard: Shard, images: Any, labels: Any) -> None:
        self._calls.append((task, slot_id, shard, images, labels))

    def cancel(self, key: str) -> None:
        """Calls that wait are dropped; one under way cannot hear, as this process is in it."""
        self._events += [
            Failed(call[0].key, "cancelled", "cancelled")
            for call in self._calls
            if call[0].key == key
        ]
        self._calls = deque(call for call in self._calls if call[0].key != key)

    def recreate(self, slot_id: str) -> None:
        self._models[slot_id] = None
        self._calls = deque(call for call in self._calls if call[1] != slot_id)
        self._events += [
            SlotDown(slot_id, False, f"{slot_id} is emptied"),
            SlotUp(Slot(slot_id, "inline", width=1)),
        ]

    def wait(self, timeout: float) -> list[Event]:
        if self._events:
            events = list(self._events)
            self._events.clear()
            return events
        if not self._calls:
            time.sleep(min(timeout, 0.05))  # a task may be waiting for its back-off
            return []
        task, slot_id, shard, images, labels = self._calls.popleft()
        model, size = self._models[slot_id], self._micro_batch
        try:
            output = perform(model, task, shard.image_ids, shard.group, images, labels, size)
        except Exception:
            return [Failed(task.key, "task", traceback.format_exc())]
        return [Finished(task.key, output)]

    def close(self) -> None:
        self._models.clear()
