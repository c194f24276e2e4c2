"""The inline executor: every model in this process, one call at a time, one torch thread.

The oracle that other executors are compared with, and the one to debug with.
"""

import traceback
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from orchestrator.executors.base import Event, Failed, Finished, SlotDown, SlotUp, perform
from orchestrator.plan import Task
from orchestrator.scheduler import Slot
from tasks import models
from tasks.data.shards import Shard
from tasks.memory import keep_freed_memory
from tasks.models.base import Segmenter
from tasks.models.numerics import REFERENCE, Numerics
from tasks.models.spec import ModelSpec


class InlineExecutor:
    """One slot a model, all in this process."""

    def __init__(self, *, micro_batch: int, numerics: Numerics = REFERENCE) -> None:
        torch.set_num_threads(1)
        keep_freed_memory()
        self._micro_batch = micro_batch
        self._numerics = numerics
        self._models: dict[str, Segmenter] = {}
        self._events: deque[Event] = deque()
        self._calls: deque[tuple[Task, str, Shard, np.ndarray, np.ndarray]] = deque()

    def ensure(self, models_needed: Mapping[str, ModelSpec]) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        for fingerprint, spec in models_needed.items():
            if fingerprint in self._models:
                continue
            slot = Slot(fingerprint, frozenset({fingerprint}))
            try:
                self._models[fingerprint] = models.load(spec, device, self._numerics)
                self._events.append(SlotUp(slot))
            except Exception as error:
                message = f"model '{spec.name}' could not be loaded: {error}"
                self._events.append(SlotDown(slot, True, message))

    def starting(self) -> bool:
        return False

    def put(self, array: np.ndarray) -> np.ndarray:
        return array

    def fetch(self, handle: Any) -> np.ndarray:
        return handle

    def start(self, task: Task, slot_id: str, shard: Shard, images: Any, labels: Any) -> None:
        self._calls.append((task, slot_id, shard, images, labels))

    def wait(self, timeout: float) -> list[Event]:
        if self._events:
            events = list(self._events)
            self._events.clear()
            return events
        if not self._calls:
            return []
        task, slot_id, shard, images, labels = self._calls.popleft()
        try:
            output = perform(
                self._models[slot_id],
                task,
                shard.image_ids,
                shard.group,
                images,
                labels,
                self._micro_batch,
            )
        except Exception:
            return [Failed(task.key, "task", traceback.format_exc())]
        return [Finished(task.key, output)]

    def close(self) -> None:
        self._models.clear()
