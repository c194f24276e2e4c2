"""A slot of the Ray executor: its current worker, and the load and calls under way there."""

import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import (
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from segtransfer.experiment.task import Task
from segtransfer.runtime.executors.base import Output, Served
from segtransfer.runtime.executors.ray.worker import (
    HEALTH,
    Loaded,
    ModelActor,
    RemoteFailure,
    call_name,
)
from segtransfer.runtime.scheduler import Slot
from segtransfer.store import Store
from segtransfer.tasks.data.shards import Shard

ACTOR: Any = ray.remote(concurrency_groups={HEALTH: 1})(ModelActor)  # type: ignore[call-overload]
WORKER_DEATHS = (RayActorError, WorkerCrashedError, OutOfMemoryError)


@dataclass
class PendingCall:
    """A call under way.

    Attributes:
        key: The task's key.
        answer: Reference of the report, or of the scores.
        made: Reference of the AEs of an attack, else None.
    """

    key: str
    answer: Any
    made: Any = None

    def result(self) -> Output | RemoteFailure:
        """Return the call's output, or the failure in place of the output.

        Blocks until the call has ended.

        Raises:
            RayError: The worker died, by one of ``WORKER_DEATHS``.
        """
        try:
            output: Output | RemoteFailure = ray.get(self.answer)
            if self.made is not None and isinstance(output, Output) and output.blob is None:
                # AEs may be lost with their node after the end of their call, which raises here.
                # AEs in the store stay on the worker's node, because nothing here reads them.
                ray.get(self.made)
        except TaskCancelledError:
            return RemoteFailure("cancelled", "the call was cancelled before it began")
        except RayTaskError as error:
            if isinstance(error.cause, RayError):
                return RemoteFailure("infrastructure", f"an input was lost: {in_short(error)}")
            return RemoteFailure("task", str(error))
        except WORKER_DEATHS:
            raise
        except RayError as error:
            return RemoteFailure("infrastructure", in_short(error))
        return output


@dataclass
class PendingLoad:
    """A load of a model under way.

    Attributes:
        model: The model's key.
        answer: Reference of the report.
        since: Begin of the load, in seconds of the monotonic clock.
    """

    model: str
    answer: Any
    since: float

    def result(self) -> Loaded | RemoteFailure:
        """Return the report of the load, or its failure; blocks until the load has ended.

        Returns:
            A failure of kind ``infrastructure`` if the worker died.
        """
        try:
            answer: Loaded | RemoteFailure = ray.get(self.answer)
        except RayTaskError as error:
            return RemoteFailure("task", in_short(error))
        except RayError as error:
            return RemoteFailure("infrastructure", in_short(error))
        return answer


@dataclass
class RaySlot:
    """A slot on a node, which outlives its workers.

    ``model`` is the name of the model that the worker loads or hosts. ``deaths`` counts the workers
    in a row that died before they finished anything.
    """

    share: Slot
    node_id: str
    resources: dict[str, float]
    worker: Any = None
    model: str = ""
    up: bool = False
    was_up: bool = False  # at any time before
    ping: Any = None  # reference of the unanswered ping
    pinged: float = 0.0  # time of the last ping in seconds
    load: PendingLoad | None = None
    calls: deque[PendingCall] = field(default_factory=deque)
    deaths: int = 0

    @property
    def slot_id(self) -> str:
        """Id of the slot."""
        return self.share.slot_id

    def new_worker(self, micro_batch: int, store: Store) -> None:
        """Start a worker, in place of the old worker with its load and calls.

        Ray must repeat neither workers nor calls, because it would repeat poisoned calls unseen.
        The slot is down until the new worker answers its first ping.

        Args:
            micro_batch: Images per forward.
            store: The driver's store.
        """
        if self.worker is not None:
            ray.kill(self.worker)
        self.up, self.load = False, None
        self.calls.clear()
        pinned = NodeAffinitySchedulingStrategy(self.node_id, soft=False)
        # Names are unique on a cluster, and a killed worker may keep its name for a moment.
        name = f"slot {self.slot_id} {uuid.uuid4().hex[:6]}"
        self.worker = ACTOR.options(
            name=name,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy=pinned,
            **self.resources,
        ).remote(micro_batch, self.store_for_worker(store))
        self.send_ping()

    def store_for_worker(self, store: Store) -> str | None:
        """Return the location of the store that the worker writes to; None if the driver writes.

        A folder of this node may not exist on another node, or may be another folder there.
        """
        here = ray.get_runtime_context().get_node_id()
        return store.location if store.remote or self.node_id == here else None

    def send_ping(self) -> None:
        """Ask the worker for a sign of life, without waiting for the answer."""
        self.ping, self.pinged = self.worker.ping.remote(), time.monotonic()

    def host(self, model: str, served: Served) -> None:
        """Begin to load a model on the worker.

        Args:
            model: The model's key, as in tasks.
            served: The model to load.
        """
        self.model = served.spec.name
        answer = self.worker.host.options(name=f"load {self.model}").remote(served)
        self.load = PendingLoad(model, answer, time.monotonic())

    def start(self, task: Task, shard: Shard, images: Any, labels: Any) -> None:
        """Queue a call on the worker.

        Args:
            task: The task.
            shard: The shard of the task.
            images: Reference of the uint8 images or AEs.
            labels: Reference of the uint8 labels.
        """
        arguments = (images, labels, task, shard.image_ids, shard.group)
        name = call_name(task, self.model)
        if task.kind == "attack":
            method = self.worker.attack.options(name=name, num_returns=2)
            made, answer = method.remote(*arguments)
            self.calls.append(PendingCall(task.key, answer, made))
        else:
            answer = self.worker.evaluate.options(name=name).remote(*arguments)
            self.calls.append(PendingCall(task.key, answer))

    def awaited(self) -> Any:
        """Return the reference of the slot's next answer: a ping, a load, or the first call.

        Returns:
            None if nothing is under way.
        """
        if not self.up:
            return self.ping
        if self.load is not None:
            return self.load.answer
        return self.calls[0].answer if self.calls else None


def in_short(error: BaseException) -> str:
    """Return the class and the reason of an error, without frames.

    Frames would hold references to arrays.

    Returns:
        A line with at most 300 characters of the reason.
    """
    if isinstance(error, RayTaskError):
        error = error.cause
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    # Ray describes the dead actor at length before it gives the reason.
    reason = next((line for line in lines if line.startswith("The actor is dead")), lines[0])
    return f"{type(error).__name__}: {reason[:300]}"
