"""The driver: the one owner of workers, and the one loop between scheduler, executor and store.

In one process it is a plain object that its client drives; under Ray it is a named actor with a
thread of its own, and any number of clients.
"""

import logging
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from orchestrator.executors.base import Event, Executor, Failed, Finished, SlotDown, SlotUp
from orchestrator.plan import Task
from orchestrator.scheduler import FINAL, Scheduler, State
from orchestrator.spec import Runtime
from orchestrator.store import Store
from tasks.data.shards import Shard
from tasks.models.spec import ModelSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Submission:
    """What a client hands to the driver: tasks, the models they need, what is stored already."""

    tasks: Mapping[str, Task]
    models: Mapping[str, ModelSpec]
    stored: frozenset[str]


@dataclass(frozen=True)
class Notice:
    """What the driver tells a client.

    ``ready``: all slots are warm, the clock starts; ``done``: a task and its cost; ``failed`` and
    ``skipped``: with the reason; ``retried``, ``slot``: news; ``finished``: nothing is left.
    """

    kind: Literal["ready", "done", "failed", "skipped", "retried", "slot", "finished"]
    time: float
    key: str = ""
    cost: float = 0.0
    model_seconds: float = 0.0
    message: str = ""


@dataclass
class _Client:
    pending: set[str]
    notices: list[Notice] = field(default_factory=list)


class Driver:
    """Accepts plans, runs the scheduler, moves results to the store, tells listeners."""

    def __init__(self, executor: Executor, store: Store, runtime: Runtime) -> None:
        self.executor = executor
        self.store = store
        self.lock = threading.RLock()
        self._scheduler = Scheduler(
            window=runtime.window,
            attempts=runtime.attempts,
            in_flight_bytes=runtime.in_flight_mib * 2**20,
        )
        self._clients: dict[str, _Client] = {}
        self._tasks: dict[str, Task] = {}
        self._shards: dict[str, Shard] = {}
        self._handles: dict[str, tuple[Any, Any]] = {}  # shard id -> images, labels
        self._images: dict[str, Any] = {}  # attack key -> AEs
        self._models: dict[str, ModelSpec] = {}
        self._up: set[str] = set()
        self._away: set[str] = set()  # slots that are down and may come back
        self._lost: dict[str, str] = {}  # model -> why no slot will host it again
        self._ready = False

    def submit(self, submission: Submission) -> str:
        """Take a client's tasks; returns the client's id."""
        client = uuid.uuid4().hex
        with self.lock:
            needed = {t.model for k, t in submission.tasks.items() if k not in submission.stored}
            models = {f: m for f, m in submission.models.items() if f in needed}
            if not models and None in needed:
                # Source-free tasks run on any slot, but one there must be.
                models = dict(list(submission.models.items())[:1])
            self._models.update(submission.models)
            self.executor.ensure(models)
            self._tasks.update(submission.tasks)
            self._scheduler.submit(client, submission.tasks, submission.stored)
            pending = {k for k in submission.tasks if self._scheduler.state(k) not in FINAL}
            self._clients[client] = _Client(pending)
            self._ready = False
            if not pending:
                self._tell(client, Notice("finished", time.time()))
            for model in needed & self._lost.keys():
                self._end_model(str(model))
        return client

    def events(self, client: str, after: int) -> list[Notice]:
        """A client's notices from number ``after`` on."""
        with self.lock:
            return self._clients[client].notices[after:]

    def cancel(self, client: str) -> None:
        """Drop a client; only what nobody else wants is cancelled, calls in flight are kept."""
        with self.lock:
            dropped = self._scheduler.cancel(client)
            self._clients[client].pending.clear()
            for key in dropped:
                self._forget_images(self._tasks[key].depends_on or key)

    def step(self, timeout: float) -> None:
        """Dispatch what can run, wait for events, act on them."""
        with self.lock:
            self._dispatch()
        events = self.executor.wait(timeout)
        with self.lock:
            for event in events:
                self._handle(event)
            self._end_stranded()

    def close(self) -> None:
        self.executor.close()

    def _dispatch(self) -> None:
        if self.executor.starting():
            return
        if not self._ready and self._up:
            self._ready = True
            self._tell_all(Notice("ready", time.time()))
        for assignment in self._scheduler.decide():
            task = assignment.task
            if self._scheduler.state(task.key) is not State.RUNNING:
                continue  # an earlier assignment found its images damaged
            shard, images, labels = self._inputs(task)
            if shard is None:
                message = f"shard {task.shard_id} is missing from the store or damaged there"
                self._report_ended(self._scheduler.failed(task.key, retry=False), message)
            elif images is None:
                log.warning("stored images of %s are damaged: they are made again", task.depends_on)
                self._remake(str(task.depends_on))
            else:
                self.executor.start(task, assignment.slot_id, shard, images, labels)

    def _inputs(self, task: Task) -> tuple[Shard | None, Any, Any]:
        """The shard and the handles a call needs; images None where stored AEs are damaged."""
        shard = self._shards.get(task.shard_id) or self.store.shard(task.shard_id)
        if shard is None:
            return None, None, None
        self._shards[task.shard_id] = shard
        if task.shard_id not in self._handles:
            put = self.executor.put
            self._handles[task.shard_id] = put(shard.images), put(shard.labels)
        images, labels = self._handles[task.shard_id]
        if task.depends_on is None:
            return shard, images, labels
        if task.depends_on not in self._images:
            stored = self.store.attack_images(task.depends_on)
            if stored is None:
                return shard, None, labels
            self._images[task.depends_on] = self.executor.put(stored)
        return shard, self._images[task.depends_on], labels

    def _remake(self, attack: str) -> None:
        """Make stored AEs again; their source may host nothing else that is missing."""
        self._scheduler.invalidated(attack)
        model = self._tasks[attack].model
        if model is not None and model not in self._lost:
            self.executor.ensure({model: self._models[model]})
        elif model is not None:
            self._end_model(model)

    def _end_stranded(self) -> None:
        """Tasks that any slot may run fail where no slot is left and none will come."""
        waiting = self._scheduler.slots() or self._away or self.executor.starting()
        if self._lost and not waiting:
            reason = next(reversed(self._lost.values()))
            ended = self._scheduler.model_lost(None)
            self._report_ended(ended, f"no model is left to run it: {reason}")

    def _handle(self, event: Event) -> None:
        if isinstance(event, Finished):
            self._commit(event)
        elif isinstance(event, Failed):
            self._fail(event)
        elif isinstance(event, SlotUp):
            self._up.add(event.slot.slot_id)
            self._away.discard(event.slot.slot_id)
            self._scheduler.add_slot(event.slot)
            self._tell_all(Notice("slot", time.time(), message=f"{event.slot.slot_id} is up"))
        elif isinstance(event, SlotDown):
            self._up.discard(event.slot.slot_id)
            self._away.add(event.slot.slot_id)
            self._scheduler.remove_slot(event.slot.slot_id)
            self._tell_all(Notice("slot", time.time(), message=event.message))
            if event.final:
                self._away.discard(event.slot.slot_id)
                for model in event.slot.models:
                    if not any(model in slot.models for slot in self._scheduler.slots()):
                        self._lost[model] = event.message
                        self._end_model(model)

    def _commit(self, event: Finished) -> None:
        task = self._tasks[event.key]
        shard, output = self._shards[task.shard_id], event.output
        report = dict(output.report or {})
        if task.kind == "attack":
            images: np.ndarray = self.executor.fetch(output.images)
            self.store.commit_attack(task, shard, images, report)
            self._images[task.key] = output.images
        else:
            assert output.confusions is not None
            assert output.predictions is not None
            self.store.commit_evaluation(task, shard, output.confusions, output.predictions, report)
        self._scheduler.done(task.key)
        self._forget_images(task.depends_on or task.key)
        seconds = report.get("cost", {}).get("seconds", 0.0)
        self._conclude(Notice("done", time.time(), task.key, cost=task.cost, model_seconds=seconds))

    def _fail(self, event: Failed) -> None:
        task = self._tasks[event.key]
        infrastructure = event.kind == "infrastructure"
        if infrastructure and task.depends_on:
            # The AEs may have gone with the worker that held them: take them from the store.
            self._images.pop(task.depends_on, None)
        ended = self._scheduler.failed(event.key, retry=infrastructure)
        if not ended:
            self._tell_all(Notice("retried", time.time(), event.key, message=event.message))
            return
        self._report_ended(ended, event.message)

    def _end_model(self, model: str) -> None:
        self._report_ended(self._scheduler.model_lost(model), self._lost[model])

    def _report_ended(self, keys: list[str], message: str) -> None:
        """Record and tell what ended without a result: failures, and what was skipped."""
        for key in keys:
            failed = self._scheduler.state(key) is State.FAILED
            if failed:
                self.store.record_failure(key, self._tasks[key].kind, message)
            reason = message if failed else "what it depends on failed"
            self._conclude(
                Notice("failed" if failed else "skipped", time.time(), key, message=reason)
            )
            self._forget_images(self._tasks[key].depends_on or key)

    def _forget_images(self, attack: str) -> None:
        waiting = self._scheduler.dependants(attack)
        if all(self._scheduler.state(task.key) in FINAL for task in waiting):
            self._images.pop(attack, None)

    def _conclude(self, notice: Notice) -> None:
        """Tell every client that waits for this task, and those that now wait for nothing."""
        for name, client in self._clients.items():
            if notice.key in client.pending:
                client.pending.discard(notice.key)
                client.notices.append(notice)
                if not client.pending:
                    self._tell(name, Notice("finished", time.time()))

    def _tell(self, client: str, notice: Notice) -> None:
        self._clients[client].notices.append(notice)

    def _tell_all(self, notice: Notice) -> None:
        for client in self._clients.values():
            if client.pending:
                client.notices.append(notice)


class DriverClient(Protocol):
    """How a run talks to a driver, wherever the driver lives."""

    def submit(self, submission: Submission) -> str: ...

    def events(self, client: str, after: int) -> list[Notice]:
        """Notices from ``after`` on; waits a moment where there is none yet."""

    def cancel(self, client: str) -> None: ...

    def close(self) -> None: ...


class LocalClient:
    """The client of a driver in this process: listening is what makes the driver work."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def submit(self, submission: Submission) -> str:
        return self._driver.submit(submission)

    def events(self, client: str, after: int) -> list[Notice]:
        if not self._driver.events(client, after):
            self._driver.step(timeout=0.1)
        return self._driver.events(client, after)

    def cancel(self, client: str) -> None:
        self._driver.cancel(client)

    def close(self) -> None:
        self._driver.close()
