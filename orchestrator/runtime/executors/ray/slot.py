"""A slot of the Ray executor: the worker that it has now, and what is under way there."""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from segtransfer.experiment.task import Task
from segtransfer.runtime.executors.base import Served
from segtransfer.runtime.executors.ray.worker import HEALTH, ModelActor
from segtransfer.runtime.scheduler import Slot
from segtransfer.tasks.data.shards import Shard

ACTOR: Any = ray.remote(concurrency_groups={HEALTH: 1})(ModelActor)  # type: ignore[call-overload]


@dataclass
class PendingCall:
    """``answer`` refers to the report, ``made`` to the AEs of an attack."""

    key: str
    answer: Any
    made: Any = None


@dataclass
class PendingLoad:
    """A model that a worker is loading."""

    model: str
    answer: Any
    since: float


@dataclass
class RaySlot:
    """One slot. Workers come and go; ``deaths`` counts those that finished nothing, in a row."""

    slot: Slot
    node_id: str
    resources: dict[str, float]
    worker: Any = None
    up: bool = False
    known: bool = False  # it was up once
    ping: Any = None  # reference of a ping that was not answered yet
    asked: float = 0.0  # when the last ping was sent
    load: PendingLoad | None = None
    calls: deque[PendingCall] = field(default_factory=deque)
    deaths: int = 0

    def new_worker(self, micro_batch: int, store: str | None) -> None:
        """Put a worker here, in place of the old one and of all that was under way on it.

        Neither workers nor their calls are Ray's to repeat: it would replay poison unseen.
        """
        if self.worker is not None:
            ray.kill(self.worker)
        self.up, self.load = False, None
        self.calls.clear()
        where = NodeAffinitySchedulingStrategy(self.node_id, soft=False)
        self.worker = ACTOR.options(
            max_restarts=0, max_task_retries=0, scheduling_strategy=where, **self.resources
        ).remote(micro_batch, store)
        self.send_ping()

    def send_ping(self) -> None:
        self.ping, self.asked = self.worker.ping.remote(), time.monotonic()

    def host(self, model: str, served: Served) -> None:
        self.load = PendingLoad(model, self.worker.host.remote(served), time.monotonic())

    def start(self, task: Task, shard: Shard, images: Any, labels: Any) -> None:
        arguments = (images, labels, task, shard.image_ids, shard.group)
        if task.kind == "attack":
            made, answer = self.worker.attack.options(num_returns=2).remote(*arguments)
            self.calls.append(PendingCall(task.key, answer, made))
        else:
            self.calls.append(PendingCall(task.key, self.worker.evaluate.remote(*arguments)))

    def awaited(self) -> Any:
        """The reference that tells next what happens here, None where nothing does.

        Of the calls it is the first, which the others wait for.
        """
        if not self.up:
            return self.ping
        if self.load is not None:
            return self.load.answer
        return self.calls[0].answer if self.calls else None


def in_short(error: BaseException) -> str:
    """Why a reference has no value, in one line, without frames, which would hold references."""
    if isinstance(error, RayTaskError):
        error = error.cause
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    # Ray says at length what died, and then why.
    reason = next((line for line in lines if line.startswith("The actor is dead")), lines[0])
    return f"{type(error).__name__}: {reason[:300]}"
