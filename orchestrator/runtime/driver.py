"""The driver: the one owner of workers, and the one loop between scheduler, executor and store.

In one process it is a plain object that its client drives; under Ray it is a named actor with a
thread of its own, and any number of clients.
"""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from segtransfer.experiment.spec import Runtime
from segtransfer.experiment.task import Task
from segtransfer.runtime.executors.base import (
    Event,
    Executor,
    Failed,
    Finished,
    Hosted,
    LostError,
    Output,
    Refused,
    Served,
    SlotDown,
    SlotUp,
)
from segtransfer.runtime.in_flight import InFlightCall, InFlightCalls
from segtransfer.runtime.input_cache import InputCache
from segtransfer.runtime.replay import scheduler_for
from segtransfer.runtime.scheduler import FINAL, Host, Start, State
from segtransfer.runtime.sessions import Notice, Sessions, Submission
from segtransfer.runtime.status import Status, Telemetry, log_event
from segtransfer.store import Store
from segtransfer.store.measured_costs import measured_paces, peaks_on_gpus

log = logging.getLogger(__name__)

# Work begins when every slot is warm, so that none waits for the cores of a machine while another
# still loads; but where slots take turns in coming up it begins without the last ones.
HOLD = 60.0  # seconds
# A cluster may lose all its slots and get others, where a cloud has to start machines first; after
# that long it is not expected to.
WITHOUT_SLOTS = 600.0  # seconds
# ... nor after that long where nodes were asked for: a cloud may be short of GPUs, or slow to boot
# them and to fetch an image of many GB.
WITHOUT_NODES = 3600.0  # seconds
STATUS_EVERY = 2.0  # seconds, for those who count


class Driver:
    """Accepts plans, runs the scheduler, moves results to the store, tells listeners.

    A client that asks for no events during ``lease`` seconds counts as dead and is cancelled. What
    is ``committed`` already may have been so after a client looked.
    """

    def __init__(
        self,
        executor: Executor,
        store: Store,
        runtime: Runtime,
        *,
        lease: float | None = None,
        telemetry: Telemetry | None = None,
        committed: Iterable[str] = (),
    ) -> None:
        self.executor = executor
        self.store = store
        self.lock = threading.RLock()
        self._runtime = runtime
        self._lease = lease
        self._telemetry = telemetry or Telemetry()
        self._metered = telemetry is not None
        self._scheduler = scheduler_for(runtime)
        self._shelf = InputCache(executor, store)
        self._calls = InFlightCalls(runtime.least_deadline)
        self._clients = Sessions()
        self._tasks: dict[str, Task] = {}
        self._models: dict[str, Served] = {}
        self._committed = {bytes.fromhex(key) for key in committed}
        self._lost: dict[str, str] = {}  # model -> why no slot will host it
        self._away: set[str] = set()  # slots that are down and will come back
        self._measured: set[str] = set()  # models whose measured paces were looked for
        self._retries = 0
        self._working = False
        self._hold_until: float | None = None
        self._slotless_since: float | None = None
        self._told_awaited = ""
        self._next_status = 0.0

    # -- clients ---------------------------------------------------------------------------

    def submit(self, submission: Submission) -> str:
        """Take a client's tasks; returns the client's id."""
        with self.lock:
            tasks = submission.tasks
            known = {key for key in tasks if bytes.fromhex(key) in self._committed}
            stored = (submission.stored | known) - submission.damaged
            self._tasks.update(tasks)
            self._models.update(submission.models)
            for key in submission.damaged:
                if self._scheduler.state(key) is State.DONE:
                    self._scheduler.invalidated(key)
            needed = frozenset(m for k, t in tasks.items() if k not in stored and (m := t.model))
            client = self._clients.add(needed)
            self._scheduler.submit(client, tasks, stored)
            pending = {k for k in tasks if self._scheduler.state(k) not in FINAL}
            self._clients.expect(client, pending)
            for model in needed:
                self._lost.pop(model, None)  # what failed for another client gets another try
            if pending:
                self._open([tasks[key] for key in sorted(pending)])
                log_event(log, "submitted", client=client, tasks=len(pending))
            else:
                self._finish(client)
        return client

    def _open(self, pending: Sequence[Task]) -> None:
        """Have slots for these tasks, and what was measured of their models."""
        # Whoever joins hears what is waited for, and waits as long as those before.
        self._slotless_since, self._told_awaited = None, ""
        slots, models = self._scheduler.slots, self._clients.models()
        asked = models <= self._measured
        shard = None if slots and asked else self.store.shard(pending[0].shard_id)
        size = self._runtime.micro_batch
        if shard is not None and not asked:
            self._measured |= models
            self._calls.expect(measured_paces(self.store, shard, size))
        # Once there are slots, how many share a GPU stays as it is.
        peaks = peaks_on_gpus(self.store, models, None if slots else shard, size)
        sources = {task.model for task in pending if task.attack} - {None}
        self.executor.open(len(models), len(sources), peaks)

    def events(self, client: str, after: int) -> list[Notice]:
        """A client's notices from number ``after`` on; those before are let go."""
        with self.lock:
            return self._clients.news(client, after)

    def cancel(self, client: str) -> None:
        """Drop a client; what nobody else wants is cancelled, calls under way too."""
        with self.lock:
            if client in self._clients:
                self._cancel(client)

    def status(self) -> Status:
        """How the fleet is doing now."""
        with self.lock:
            names = {model: served.spec.name for model, served in self._models.items()}
            return Status(
                time=time.time(),
                slots=self._calls.slots(self._scheduler.slots, names, time.monotonic()),
                counts=self._scheduler.counts(),
                retries=self._retries,
                in_flight_bytes=self._scheduler.held_bytes,
                budget_bytes=self._scheduler.in_flight_bytes,
                clients=len(self._clients),
            )

    def models(self) -> dict[str, tuple[str, str]]:
        """Name and fingerprint of the models that clients brought, by the name tasks use."""
        with self.lock:
            return {m: (s.spec.name, s.fingerprint) for m, s in self._models.items()}

    # -- the loop --------------------------------------------------------------------------

    def step(self, timeout: float) -> None:
        """Dispatch what can run, wait for events, act on them."""
        begun = time.monotonic()
        with self.lock:
            self._dispatch()
        events = self.executor.wait(timeout)
        for event in events:
            with self.lock:  # each by itself: clients have their say in between
                self._handle(event)
        with self.lock:
            self._give_up_late_calls()
            self._end_stranded()
            self._drop_silent_clients(begun)
            self._telemeter()

    def close(self) -> None:
        self.executor.close()

    def _dispatch(self) -> None:
        now = time.monotonic()
        if not self._working and self._warming_up(now):
            return
        self._scheduler.switch_cost = self._calls.switch_cost()
        for decision in self._scheduler.decide(now):
            if isinstance(decision, Host):
                served = self._models[decision.model]
                log_event(log, "host", slot=decision.slot_id, model=served.spec.name)
                self.executor.host(decision.slot_id, decision.model, served)
            else:
                self._start(decision)

    def _warming_up(self, now: float) -> bool:
        """Whether to wait for slots: first for all workers, then for all their models."""
        if self._hold_until is None and len(self._scheduler.slots):
            self._hold_until = now + HOLD
        waiting = self.executor.starting() or self._scheduler.slots.loading
        return bool(waiting) and (self._hold_until is None or now < self._hold_until)

    def _start(self, decision: Start) -> None:
        task = decision.task
        if self._scheduler.state(task.key) is not State.RUNNING:
            return  # an earlier decision found its images damaged
        self._working = True
        self._clients.tell_ready(task.key)
        try:
            inputs = self._shelf.inputs(task)
        except OSError as error:
            self._retry_unless_disk(task, error)
            return
        if inputs is None:
            message = f"shard {task.shard_id} is missing from the store or damaged there"
            self._end_failed(task, message)
        elif inputs.images is None:
            self._remake(task)
        else:
            self._calls.begin(task, inputs.shard, decision.slot_id, time.monotonic())
            self.executor.start(task, decision.slot_id, inputs.shard, inputs.images, inputs.labels)

    def _remake(self, score: Task) -> None:
        """Make the stored AEs that a task scores again; their source may be wanted for nothing
        else."""
        attack = str(score.depends_on)
        if attack not in self._tasks:
            self._end_failed(score, "the images that it scores are damaged, and nobody makes them")
            return
        log.warning("stored images of %s are damaged: they are made again", attack)
        self._committed.discard(bytes.fromhex(attack))
        self._clients.expect_too(attack, {t.key for t in self._scheduler.dependants(attack)})
        self._scheduler.invalidated(attack)
        model = self._tasks[attack].model
        if model in self._lost:
            self._end_model(model)

    # -- events ----------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        now = time.monotonic()
        if isinstance(event, Finished):
            self._commit(event, now)
        elif isinstance(event, Failed):
            self._fail(event, now)
        elif isinstance(event, SlotUp):
            self._away.discard(event.slot.slot_id)
            self._scheduler.add_slot(event.slot)
            if self._runtime.in_flight_mib == "auto":
                self._scheduler.in_flight_bytes = self.executor.budget()
            message = f"{event.slot.slot_id} is up"
            self._clients.tell_all(Notice("slot", time.time(), message=message))
            log_event(log, "slot up", slot=event.slot.slot_id)
        elif isinstance(event, SlotDown):
            self._slot_down(event.slot_id, event.final, event.message)
        elif isinstance(event, Hosted):
            self._scheduler.hosted(event.slot_id, event.model)
            self._calls.loaded(event.seconds)
            self._telemetry.loaded(self._name(event.model), event.seconds)
            log_event(log, "hosted", slot=event.slot_id, model=self._name(event.model))
        elif isinstance(event, Refused):
            self._refuse(event)

    def _commit(self, event: Finished, now: float) -> None:
        call = self._calls.end(event.key, now)
        if call is None:
            return  # given up before: another slot has it
        task, output = call.task, event.output
        report = dict(output.report or {})
        try:
            self._keep(call, output, report)
        except LostError as error:
            self._retry(task, str(error), retry=True)
            return
        except OSError as error:
            self._retry_unless_disk(task, error)
            return
        if task.attack is not None:
            self._shelf.put(task.key, output.images)
        self._committed.add(bytes.fromhex(task.key))
        self._scheduler.done(task.key)
        self._forget([task])
        seconds = report.get("cost", {}).get("seconds", 0.0)
        self._telemetry.finished(task.kind, self._name(task.model), seconds)
        log_event(log, "done", key=task.key, slot=call.slot_id, seconds=round(call.seconds, 3))
        notice = Notice("done", time.time(), task.key, cost=task.cost, model_seconds=seconds)
        for client in self._clients.conclude(notice):
            self._finish(client)

    def _keep(self, call: InFlightCall, output: Output, report: dict[str, Any]) -> None:
        """Write what a call gave: the row alone where its worker wrote the arrays."""
        task = call.task
        if output.blob is not None:
            self.store.commit(task, output.blob, report)
        elif task.attack is not None:
            images = self.executor.fetch(output.images)
            self.store.commit_attack(task, call.shard, images, report)
        else:
            assert output.confusions is not None
            assert output.predictions is not None
            confusions, predictions = output.confusions, output.predictions
            self.store.commit_evaluation(task, call.shard, confusions, predictions, report)

    def _fail(self, event: Failed, now: float) -> None:
        call = self._calls.end(event.key, now, failed=True)
        if call is None:
            return
        task = call.task
        log_event(log, event.kind, key=task.key, slot=call.slot_id, message=event.message)
        if event.kind != "task" and task.depends_on:
            # The AEs may have gone with the worker that held them: take them from the store.
            self._shelf.forget(task.depends_on)
        self._retry(task, event.message, retry=event.kind != "task")

    def _retry(self, task: Task, message: str, *, retry: bool) -> None:
        """Let a task that failed wait again, or end it where its attempts are used up."""
        wanted = self._scheduler.state(task.key) is State.RUNNING
        ended = self._scheduler.failed(task.key, retry=retry, now=time.monotonic())
        if ended:
            self._report_ended(ended, message)
        elif wanted and self._scheduler.state(task.key) is not None:
            self._retries += 1
            self._telemetry.failed(task.kind, "retried")
            self._clients.tell_waiting(Notice("retried", time.time(), task.key, message=message))
        else:
            self._telemetry.failed(task.kind, "cancelled")
            self._forget([task])

    def _retry_unless_disk(self, task: Task, error: OSError) -> None:
        """A bucket that fails now may answer later, and other clients' work goes on meanwhile; a
        disk that is full or read-only stays so, and the error ends the driver."""
        if not self.store.remote:
            raise error
        self._retry(task, str(error), retry=True)

    def _refuse(self, event: Refused) -> None:
        self._scheduler.refused(event.slot_id, event.model)
        name = self._name(event.model)
        log_event(log, "refused", slot=event.slot_id, model=name, message=event.message)
        if not self._scheduler.slots.hosts(event.model):
            self._lost[event.model] = f"model '{name}' could not be loaded: {event.message}"
            self._end_model(event.model)

    def _slot_down(self, slot_id: str, final: bool, message: str) -> None:
        (self._away.discard if final else self._away.add)(slot_id)
        dropped = self._calls.drop_slot(slot_id)
        self._scheduler.remove_slot(slot_id)
        self._forget(dropped)
        told = message if slot_id in message else f"slot {slot_id}: {message}"
        self._clients.tell_all(Notice("slot", time.time(), message=told))
        log_event(log, "slot down", slot=slot_id, final=final, message=message)

    def _give_up_late_calls(self) -> None:
        """Replace the worker of a call that takes far longer than its like, and try it again."""
        if not self.executor.interruptible:
            return
        for call in self._calls.late(time.monotonic(), self._scheduler.slots):
            message = (
                f"{call.slot_id} worked on one call for {call.seconds:.0f} s, past its deadline of "
                f"{call.deadline:.0f} s: its worker is replaced"
            )
            self._calls.end(call.task.key, time.monotonic(), failed=True)
            self._retry(call.task, message, retry=True)
            self._slot_down(call.slot_id, False, message)
            self.executor.recreate(call.slot_id)

    def _end_stranded(self) -> None:
        """Fail what is left where no slot is, and none will come."""
        now = time.monotonic()
        hopeful = len(self._scheduler.slots) or self._away or self.executor.starting()
        if hopeful or not self._clients.waiting():
            self._slotless_since, self._told_awaited = None, ""
            return
        self._slotless_since = self._slotless_since or now
        awaited = self.executor.awaited()
        limit = WITHOUT_NODES if awaited else WITHOUT_SLOTS
        if awaited != self._told_awaited:
            self._tell_awaited(awaited, limit)
        if now - self._slotless_since > limit:
            asked = f", though nodes were asked for: {awaited}" if awaited else ""
            for model in (*sorted(self._clients.models()), None):
                ended = self._scheduler.model_lost(model)
                self._report_ended(ended, f"no slot was left for {limit:.0f} s{asked}")

    def _tell_awaited(self, awaited: str, limit: float) -> None:
        self._told_awaited = awaited
        if awaited:
            message = (
                f"no slot yet: the cluster was asked for nodes ({awaited}), and they are waited "
                f"for up to {limit / 60:.0f} minutes"
            )
            self._clients.tell_all(Notice("slot", time.time(), message=message))
            log_event(log, "nodes awaited", nodes=awaited)

    def _drop_silent_clients(self, now: float) -> None:
        """``now`` is when this step began: while it lasts, nobody can be heard."""
        if self._lease is None:
            return
        for client in self._clients.silent(self._lease, now):
            log_event(log, "client silent", client=client)
            self._cancel(client)

    def _telemeter(self) -> None:
        if self._metered and time.monotonic() >= self._next_status:
            self._next_status = time.monotonic() + STATUS_EVERY
            self._telemetry.status(self.status())

    # -- bookkeeping -----------------------------------------------------------------------

    def _cancel(self, client: str) -> None:
        tasks = [self._tasks[key] for key in self._scheduler.tasks_of(client)]
        self._scheduler.cancel(client)
        for key in self._scheduler.unwanted():
            self.executor.cancel(key)
        self._clients.remove(client)
        self._forget(tasks)
        log_event(log, "client left", client=client)

    def _finish(self, client: str) -> None:
        """Nothing of a client's is left to do: say so, and forget its tasks."""
        tasks = [self._tasks[key] for key in self._scheduler.tasks_of(client)]
        self._clients.tell(client, Notice("finished", time.time()))
        self._scheduler.forget(client)
        self._forget(tasks)

    def _forget(self, tasks: Iterable[Task]) -> None:
        """Let go what calls needed, and those tasks that nobody asks for any more."""
        before = len(self._tasks)
        for task in tasks:
            self._let_go(task)
            if self._scheduler.state(task.key) is None:
                self._tasks.pop(task.key, None)
        if len(self._tasks) < before:
            self._shelf.keep(task.shard_id for task in self._tasks.values())

    def _name(self, model: str | None) -> str:
        return self._models[model].spec.name if model in self._models else ""

    def _end_model(self, model: str) -> None:
        self._report_ended(self._scheduler.model_lost(model), self._lost[model])

    def _end_failed(self, task: Task, message: str) -> None:
        """End a running task for a reason that another try would not change."""
        now = time.monotonic()
        self._report_ended(self._scheduler.failed(task.key, retry=False, now=now), message)

    def _report_ended(self, keys: list[str], message: str) -> None:
        """Record and tell what ended without a result: failures, and what was skipped."""
        for key in keys:
            task, failed = self._tasks[key], self._scheduler.state(key) is State.FAILED
            if failed:
                self._record_failure(task, message)
            kind: Literal["failed", "skipped"] = "failed" if failed else "skipped"
            reason = message if failed else "what it depends on failed"
            self._telemetry.failed(task.kind, kind)
            log_event(log, kind, key=key, message=reason)
            self._let_go(task)
            for client in self._clients.conclude(Notice(kind, time.time(), key, message=reason)):
                self._finish(client)

    def _record_failure(self, task: Task, message: str) -> None:
        try:
            self.store.record_failure(task.key, task.kind, message)
        except OSError as error:
            if not self.store.remote:
                raise
            # The clients hear of the failure all the same.
            log.warning("the failure of %s could not be kept: %s", task.key, error)

    def _let_go(self, task: Task) -> None:
        """Let AEs go that nothing waits to score."""
        attack = task.depends_on or task.key
        if all(self._scheduler.state(t.key) in FINAL for t in self._scheduler.dependants(attack)):
            self._shelf.forget(attack)
