"""The inline executor: every model in this process, a call at a time, on one torch thread.

Results of other executors are compared with its results, and a debugger can follow its calls.
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
)
from segtransfer.runtime.perform import TaskInputs, perform
from segtransfer.runtime.scheduler import Slot
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.memory import keep_freed_memory
from segtransfer.tasks.models import adapters as models
from segtransfer.tasks.models.base import Segmenter


class InlineExecutor:
    """One slot per model, all in this process. Torch is set to one thread for the whole process.

    Args:
        micro_batch: Images per forward.
    """

    interruptible = False

    def __init__(self, *, micro_batch: int) -> None:
        torch.set_num_threads(1)
        keep_freed_memory()
        self._micro_batch = micro_batch
        self._models: dict[str, Segmenter | None] = {}
        self._events: deque[Event] = deque()
        self._calls: deque[tuple[Task, str, Shard, np.ndarray, np.ndarray]] = deque()

    def open(self, models: int, sources: int = 0, peaks: Sequence[int] = ()) -> None:
        """Open a slot per model, at least one; ``SlotUp`` follows with the next ``wait``."""
        for number in range(len(self._models), max(1, models)):
            slot = Slot(f"inline-{number}", "inline", width=1)
            self._models[slot.slot_id] = None
            self._events.append(SlotUp(slot))

    def starting(self) -> bool:
        """Return whether the driver has yet to receive the ``SlotUp`` of a slot."""
        return any(isinstance(event, SlotUp) for event in self._events)

    def awaited(self) -> str:
        """Return an empty string, because no nodes are requested."""
        return ""

    def budget(self) -> int:
        """Return the bytes for AEs in flight: 2 GiB."""
        return 2 * 2**30

    def host(self, slot_id: str, model: str, served: Served) -> None:
        """Load a model before returning, on the GPU if this process sees a GPU.

        Any error of the load becomes ``Refused``.

        Args:
            slot_id: The slot.
            model: The model's key, as in tasks.
            served: The model to load.
        """
        device, begun = "cuda" if torch.cuda.is_available() else "cpu", time.perf_counter()
        self._models[slot_id] = None
        try:
            self._models[slot_id] = models.load_planned(
                served.spec, served.fingerprint, device, served.numerics
            )
            self._events.append(Hosted(slot_id, model, time.perf_counter() - begun))
        except Exception as error:
            self._events.append(Refused(slot_id, model, str(error)))

    def put(self, array: np.ndarray) -> np.ndarray:
        """Return the array, which is its own handle."""
        return array

    def fetch(self, handle: Any) -> np.ndarray:
        """Return the handle, which is the array."""
        return handle

    def start(self, task: Task, slot_id: str, shard: Shard, images: Any, labels: Any) -> None:
        """Queue a call, for a later ``wait`` to run.

        Args:
            task: The task.
            slot_id: The slot, which hosts the task's model.
            shard: The shard of the task.
            images: The uint8 images or AEs.
            labels: The uint8 labels.
        """
        self._calls.append((task, slot_id, shard, images, labels))

    def cancel(self, key: str) -> None:
        """Drop a queued call. A call under way blocks this process and cannot be cancelled."""
        self._events += [
            Failed(call[0].key, "cancelled", "cancelled")
            for call in self._calls
            if call[0].key == key
        ]
        self._calls = deque(call for call in self._calls if call[0].key != key)

    def recreate(self, slot_id: str) -> None:
        """Empty a slot, drop its calls, and report ``SlotDown`` and ``SlotUp``."""
        self._models[slot_id] = None
        self._calls = deque(call for call in self._calls if call[1] != slot_id)
        self._events += [
            SlotDown(slot_id, False, f"the model of {slot_id} is unloaded"),
            SlotUp(Slot(slot_id, "inline", width=1)),
        ]

    def wait(self, timeout: float) -> list[Event]:
        """Return pending events, else run the next call to its end.

        Args:
            timeout: Longest wait in seconds if there is no call; calls may take longer.

        Returns:
            The pending events, or the event of the call. Empty without events and calls.
        """
        if self._events:
            events = list(self._events)
            self._events.clear()
            return events
        if not self._calls:
            time.sleep(min(timeout, 0.05))  # because a task may wait for its back-off
            return []
        task, slot_id, shard, images, labels = self._calls.popleft()
        inputs = TaskInputs(shard.image_ids, shard.group, images, labels)
        try:
            output = perform(self._models[slot_id], task, inputs, self._micro_batch)
        except Exception:
            return [Failed(task.key, "task", traceback.format_exc())]
        return [Finished(task.key, output)]

    def close(self) -> None:
        """Release all models."""
        self._models.clear()
