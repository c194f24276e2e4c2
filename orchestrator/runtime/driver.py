"""Own the workers, and loop between scheduler, executor and store.

In one process the driver is a plain object, and its client calls ``step``. Under Ray the driver is
a named actor with any number of clients, and a thread of the actor calls ``step``.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from itertools import groupby

from segtransfer.experiment.runtime_spec import Runtime
from segtransfer.experiment.task import Task
from segtransfer.runtime.committer import Committer
from segtransfer.runtime.event_log import DRIVER_LOG, log_event
from segtransfer.runtime.executors.base import (
    Event,
    Executor,
    Failed,
    Finished,
    Hosted,
    Refused,
    SlotDown,
    SlotUp,
)
from segtransfer.runtime.in_flight import InFlightCalls
from segtransfer.runtime.input_cache import InputCache
from segtransfer.runtime.recovery import Recovery
from segtransfer.runtime.replay import scheduler_for
from segtransfer.runtime.scheduler import FINAL, Host, Start, State
from segtransfer.runtime.sessions import Notice, Sessions, Submission
from segtransfer.runtime.slot_supply import SlotSupply
from segtransfer.runtime.status import Status
from segtransfer.runtime.task_registry import TaskRegistry
from segtransfer.runtime.telemetry import GAUGE_PERIOD, Telemetry
from segtransfer.runtime.time_left import TimeLeft
from segtransfer.store import Store
from segtransfer.store.measured_costs import measured_paces, peaks_on_gpus


class Driver:
    """Accepts plans, runs the scheduler, commits results to the store, and notifies clients.

    One thread calls ``step``, and ``close`` afterwards. The other methods may be called from any
    thread, take the driver's lock, and return without waiting for tasks.

    Args:
        executor: Carries tasks to models; the driver closes the executor.
        store: Gets the results.
        runtime: Runtime options of the experiment or fleet.
        lease: Seconds without a call of ``events`` after which a client counts as dead and is
            cancelled. None keeps every client.
        telemetry: Counts the driver's work. Gauges are written only if it is given.
        committed: Keys of results committed by an earlier driver, after clients last looked.
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
        self._writes_gauges = telemetry is not None
        self._next_gauges = 0.0
        self._measured: set[str] = set()  # models with measured costs read from the store
        self._scheduler = scheduler_for(runtime)
        self._cache = InputCache(executor, store)
        self._calls = InFlightCalls(runtime.least_deadline, serial=not executor.interruptible)
        self._time_left = TimeLeft(self._scheduler, self._calls)
        self._sessions = Sessions()
        self._committer = Committer(store, executor, committed)
        self._registry = TaskRegistry(
            self._scheduler, self._sessions, self._cache, self._committer, self._telemetry
        )
        self._supply = SlotSupply(
            executor,
            self._scheduler,
            self._calls,
            self._registry,
            self._sessions,
            auto_budget=runtime.in_flight_mib == "auto",
        )
        self._recovery = Recovery(
            self._scheduler, self._calls, self._registry, self._supply, self._committer, self._cache
        )

    # -- clients ---------------------------------------------------------------------------

    def submit(self, submission: Submission) -> str:
        """Accept a client's tasks, share equal tasks between clients, and have slots opened.

        A task with a stored result is done at once, unless the result is damaged. If no task is
        left, the client is notified that it has finished.

        Args:
            submission: The tasks and models of the client.

        Returns:
            The id of the client, for ``events`` and ``cancel``.

        Raises:
            OSError: If a local store cannot be read.
        """
        with self.lock:
            tasks = submission.tasks
            known = {key for key in tasks if self._committer.has(key)}
            stored = (submission.stored | known) - submission.damaged
            self._registry.add(submission)
            for key in submission.damaged:
                if self._scheduler.state(key) is State.DONE:
                    self._scheduler.invalidated(key)
            needed = frozenset(m for k, t in tasks.items() if k not in stored and (m := t.model))
            client = self._sessions.add(needed)
            self._scheduler.submit(client, tasks, stored)
            pending = {k for k in tasks if self._scheduler.state(k) not in FINAL}
            self._sessions.expect(client, pending)
            for model in needed:
                self._recovery.allow(model)
            if pending:
                self._calls.paces.recall(self.store, [t for k, t in tasks.items() if k in stored])
                self._open_slots([tasks[key] for key in sorted(pending)], submission.size)
                log_event(DRIVER_LOG, "submitted", client=client, tasks=len(pending))
            else:
                self._registry.finish(client)
        return client

    def events(self, client: str, after: int) -> list[Notice]:
        """Return a client's notices from number `after` on, without waiting, and renew its lease.

        Args:
            client: The id of the client.
            after: Number of notices that the client has read, which are deleted.

        Returns:
            At most `MAX_NOTICES` notices, the oldest first; empty if there are none.

        Raises:
            UnknownClientError: If the driver has no such client.
        """
        with self.lock:
            return self._sessions.notices(client, after)

    def cancel(self, client: str) -> None:
        """Drop a client, and cancel the tasks and calls without another client.

        Interruptible calls stop at their next step. An unknown client is ignored.
        """
        with self.lock:
            if client in self._sessions:
                self._cancel(client)

    def status(self) -> Status:
        """Return the present state of slots, tasks and clients."""
        with self.lock:
            names = {model: served.spec.name for model, served in self._registry.models.items()}
            return Status(
                time=time.time(),
                slots=self._calls.slots(self._scheduler.slots, names, time.monotonic()),
                counts=self._scheduler.counts(),
                retries=self._registry.retries,
                in_flight_bytes=self._scheduler.held_bytes,
                budget_bytes=self._scheduler.in_flight_bytes,
                clients=len(self._sessions),
                seconds_left=self._time_left.seconds(time.monotonic()),
            )

    def models(self) -> dict[str, tuple[str, str]]:
        """Return name and fingerprint of the models of all clients so far, by model key."""
        with self.lock:
            models = self._registry.models
            return {m: (s.spec.name, s.fingerprint) for m, s in models.items()}

    # -- the loop --------------------------------------------------------------------------

    def step(self, timeout: float) -> None:
        """Start calls on slots with room, wait for events, commit results and notify clients.

        The lock is free during the wait, between events, and while results are written. An inline
        executor runs one call within the wait, which then takes as long as the call. Calls past
        their deadline and silent clients are ended here, too.

        Args:
            timeout: Longest wait for an event in seconds.

        Raises:
            OSError: If a local store cannot be read or written.
        """
        begun = time.monotonic()
        with self.lock:
            self._dispatch()
        events = self.executor.wait(timeout)
        with self.lock:
            self._calls.advance(time.monotonic(), self._scheduler.slots)
        for are_results, group in groupby(events, lambda event: isinstance(event, Finished)):
            (self._commit if are_results else self._handle)(group)
        with self.lock:
            if self.executor.interruptible:
                self._recovery.end_late_calls()
            if shortage := self._supply.shortage(time.monotonic()):
                self._fail_all(shortage)
            self._drop_silent_clients(begun)
            self._write_gauges()

    def close(self) -> None:
        """Close the executor, which releases every model and worker. Tasks under way are lost."""
        self.executor.close()
        self._committer.close()

    def _open_slots(self, pending: Sequence[Task], size: tuple[int, int] | None) -> None:
        """Have the executor open slots for the models of all clients.

        The store's measured costs of a model are read once. They give deadlines for first calls,
        and the number of slots on a GPU. Without a `size` the first pending shard gives the image
        size.
        """
        # A later client gets the announcements and the full wait of a first client.
        self._supply.restart_wait()
        slots, models = self._scheduler.slots, self._sessions.models()
        looked_up = models <= self._measured
        if size is None and not (slots and looked_up):
            shard = self.store.shard(pending[0].shard_id)
            size = None if shard is None else shard.size
        micro_batch = self._runtime.micro_batch
        if size is not None and not looked_up:
            self._measured |= models
            self._calls.paces.expect(measured_paces(self.store, size, micro_batch))
        # The number of slots on a GPU is fixed by the first client.
        peaks = peaks_on_gpus(self.store, models, None if slots else size, micro_batch)
        sources = {task.model for task in pending if task.attack} - {None}
        self.executor.open(len(models), len(sources), peaks)

    def _dispatch(self) -> None:
        now = time.monotonic()
        if self._supply.warming_up(now):
            return
        self._scheduler.switch_cost = self._calls.switch_cost()
        for decision in self._scheduler.decide(now):
            if isinstance(decision, Host):
                served = self._registry.models[decision.model]
                log_event(DRIVER_LOG, "host", slot=decision.slot_id, model=served.spec.name)
                self.executor.host(decision.slot_id, decision.model, served)
            else:
                self._start(decision)

    def _start(self, decision: Start) -> None:
        task = decision.task
        if self._scheduler.state(task.key) is not State.RUNNING:
            return  # an earlier decision found its AEs damaged
        self._supply.begin_work()
        self._sessions.notify_ready(task.key)
        try:
            inputs = self._cache.inputs(task)
        except OSError as error:
            self._recovery.store_failed(error, task)
            return
        if inputs is None:
            message = (
                f"Shard {task.shard_id} is missing from the store or damaged. Run the experiment "
                "again to restore the shard."
            )
            self._recovery.apply("missing shard", task, message)
        elif inputs.images is None:
            self._recovery.apply("damaged dependency", task, "")
        else:
            self._calls.begin(task, inputs.shard, decision.slot_id, time.monotonic())
            self.executor.start(task, decision.slot_id, inputs.shard, inputs.images, inputs.labels)

    def _handle(self, events: Iterable[Event]) -> None:
        for event in events:
            with self.lock:  # released between events, for the clients' calls
                self._handle_one(event)

    def _handle_one(self, event: Event) -> None:
        if isinstance(event, Failed):
            call = self._calls.end(event.key, time.monotonic(), failed=True)
            if call is not None:
                self._recovery.call_failed(event, call)
        elif isinstance(event, SlotUp):
            self._supply.add(event.slot)
        elif isinstance(event, SlotDown):
            self._supply.remove(event.slot_id, final=event.final, message=event.message)
        elif isinstance(event, Hosted):
            self._scheduler.hosted(event.slot_id, event.model)
            self._calls.loaded(event.seconds)
            name = self._registry.model_name(event.model)
            self._telemetry.loaded(name, event.seconds)
            log_event(DRIVER_LOG, "hosted", slot=event.slot_id, model=name)
        elif isinstance(event, Refused):
            self._recovery.model_refused(event)

    def _commit(self, events: Iterable[Event]) -> None:
        """Commit results, and notify their clients in the order of the events."""
        now, finished = time.monotonic(), [e for e in events if isinstance(e, Finished)]
        with self.lock:
            # A call ended before by its deadline or with its slot, and its task was retried.
            ended = [(self._calls.end(event.key, now), event.output) for event in finished]
        results = [(call, output) for call, output in ended if call is not None]
        # Without the lock, because a store may take long.
        for call, output, report in self._committer.commit(results):
            with self.lock:
                if isinstance(report, Exception):
                    self._recovery.store_failed(report, call.task)
                else:
                    self._registry.complete(call, output.images, report)

    def _fail_all(self, message: str) -> None:
        """Fail all tasks, because no slot is left for any model."""
        for model in (*sorted(self._sessions.models()), None):
            self._registry.end(self._scheduler.model_lost(model), message)

    def _cancel(self, client: str) -> None:
        for key in self._registry.cancel(client):
            self.executor.cancel(key)

    def _drop_silent_clients(self, now: float) -> None:
        """Cancel clients whose lease ended before `now`, the begin of the step.

        A step may keep clients from reaching the driver.
        """
        if self._lease is None:
            return
        for client in self._sessions.silent(self._lease, now):
            log_event(DRIVER_LOG, "client silent", client=client)
            self._cancel(client)

    def _write_gauges(self) -> None:
        if self._writes_gauges and time.monotonic() >= self._next_gauges:
            self._next_gauges = time.monotonic() + GAUGE_PERIOD
            self._telemetry.status(self.status())
