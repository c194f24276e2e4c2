"""The state machine: decides starts and loads, and is notified of the outcome of each decision."""

from collections import Counter
from collections.abc import Iterable, Mapping

from segtransfer.experiment.task import Task
from segtransfer.runtime.scheduler.placement import Host, Placement
from segtransfer.runtime.scheduler.retries import BACK_OFF
from segtransfer.runtime.scheduler.slots import Slot, Slots
from segtransfer.runtime.scheduler.starts import Start, Starter
from segtransfer.runtime.scheduler.state import SchedulerState
from segtransfer.runtime.scheduler.task_table import (
    ANY,
    ENDED_BADLY,
    FINAL,
    State,
    TaskEntry,
)

# Cost for a slot to switch its model, in image forwards: seconds per load over 0.1 s per forward.
SWITCH_COST = 100.0
# A slot may be taken from a model with work left once its calls cost this many times a switch. So
# the two switches, there and back, take at most 4 % of the time.
TIME_SLICE = 50.0

Decision = Start | Host


class Scheduler:
    """Decides which task runs on which slot, and which slot hosts which model.

    A slot hosts one model and takes up to ``window`` calls. Evaluations go before attacks. A client
    submits the attacks of its evaluations, too. Reports of unknown tasks and slots are ignored.
    Memory is about 0.2 kB per task beside the ``Task``.

    Args:
        window: Most calls of a slot at a time.
        attempts: Most attempts per task. Calls lost with a removed slot do not count.
        in_flight_bytes: Budget of ``held_bytes``; a single attack may always run.
        switch_cost: Cost for a slot to switch its model, in the unit of the tasks' costs (image
            forwards in a run, seconds in a forecast).
        back_off: Seconds from the first failure of a task to its retry, doubled per failure. The
            retry takes another slot if possible.
    """

    def __init__(
        self,
        *,
        window: int,
        attempts: int,
        in_flight_bytes: int,
        switch_cost: float = SWITCH_COST,
        back_off: float = BACK_OFF,
    ) -> None:
        self._attempts = attempts
        self._state = SchedulerState(
            window=window, in_flight_bytes=in_flight_bytes, back_off=back_off
        )
        self.switch_cost = switch_cost
        self._tasks = self._state.tasks
        self._starter = Starter(self._state)
        self._placement = Placement(self.slots, self._state.queues, self._tasks.remaining)
        self._clients: dict[str, dict[str, None]] = {}

    # -- clients ---------------------------------------------------------------------------

    def submit(self, client: str, tasks: Mapping[str, Task], stored: Iterable[str]) -> None:
        """Accept a client's tasks; equal tasks of several clients are shared.

        Args:
            client: The client's id.
            tasks: Tasks by key.
            stored: Keys of tasks that are done already.
        """
        done = stored if isinstance(stored, set | frozenset) else set(stored)
        alone: tuple[str, ...] = (client,)
        self._clients.setdefault(client, {}).update(dict.fromkeys(tasks))
        new: list[TaskEntry] = []
        for key, task in tasks.items():
            entry = self._tasks.get(key)
            if entry is not None and entry.state not in ENDED_BADLY:
                if client not in entry.clients:
                    entry.clients = (*entry.clients, client)
                    if entry.state is State.READY:
                        self._state.queues.share(entry, client)
                continue
            clients = alone
            if entry is not None and entry.clients != alone:
                clients = (*(c for c in entry.clients if c != client), client)
            state = State.DONE if key in done else State.BLOCKED
            fresh = TaskEntry(task, state, clients)
            self._tasks.put(fresh)
            if state is State.BLOCKED:
                new.append(fresh)
                self._tasks.expect(task)
        # The longest attacks first, so no long attack remains at the end; else the plan's order.
        new.sort(key=lambda e: -e.task.cost if e.task.attack is not None else 0.0)
        for fresh in new:
            self._state.settle(fresh)

    def cancel(self, client: str) -> list[str]:
        """Remove a client, and cancel its waiting tasks without another client.

        Running tasks without a client stay until their call ends, and ``unwanted`` lists them.

        Returns:
            The keys of the cancelled tasks, in the order of submission; none of an unknown client.
        """
        self._state.queues.leave(client)
        cancelled, ended = [], []
        for key in self._clients.pop(client, ()):
            entry = self._tasks[key]
            entry.clients = tuple(c for c in entry.clients if c != client)
            if entry.clients:
                continue
            if entry.state is State.RUNNING:
                self._state.unwanted[key] = None
                continue
            if entry.state not in FINAL:
                self._state.unqueue(entry)
                self._state.end(entry, State.CANCELLED)
                cancelled.append(key)
            ended.append(key)
        for key in ended:
            self._state.drop(key)
        return cancelled

    def forget(self, client: str) -> None:
        """Delete the tasks of a finished client, except tasks of other clients."""
        self.cancel(client)

    def unwanted(self) -> list[str]:
        """Return the keys of running tasks without a client, each in one answer only."""
        keys, self._state.unwanted = self._state.unwanted, {}
        return [key for key in keys if not self._tasks[key].clients]

    def state(self, key: str) -> State | None:
        """Return the state of a task, or None if no client wants the task any more."""
        entry = self._tasks.get(key)
        return entry.state if entry else None

    def tasks_of(self, client: str) -> list[str]:
        """Return the keys of a client's tasks; empty for an unknown client."""
        return list(self._clients.get(client, ()))

    def counts(self) -> dict[str, int]:
        """Return the number of tasks of all clients by the value of each ``State``."""
        counts = Counter(entry.state for entry in self._tasks)
        return {state.value: counts[state] for state in State}

    def open_tasks(self) -> list[Task]:
        """Return the tasks of all clients without a final state."""
        return [entry.task for entry in self._tasks if entry.state not in FINAL]

    def dependants(self, key: str) -> list[Task]:
        """Return the evaluations of an attack's AEs, in any state."""
        return [entry.task for entry in self._tasks.evaluations(key)]

    @property
    def switch_cost(self) -> float:
        """Cost of a switch of models, in the unit of the tasks' costs; may be set at any time."""
        return self._switch_cost

    @switch_cost.setter
    def switch_cost(self, cost: float) -> None:
        self._switch_cost = cost
        self.slots.time_slice = TIME_SLICE * cost

    @property
    def held_bytes(self) -> int:
        """Bytes of AEs under attack, and of AEs with open evaluations."""
        return self._state.in_flight.bytes

    @property
    def in_flight_bytes(self) -> int:
        """Budget of ``held_bytes``; may be set at any time."""
        return self._state.in_flight.limit

    @in_flight_bytes.setter
    def in_flight_bytes(self, limit: int) -> None:
        self._state.in_flight.limit = limit

    # -- slots -----------------------------------------------------------------------------

    @property
    def slots(self) -> Slots:
        """All slots, with their models and calls."""
        return self._state.slots

    def add_slot(self, slot: Slot) -> None:
        """Add an empty slot, in place of an earlier slot of the same id."""
        self.remove_slot(slot.slot_id)
        self.slots.add(slot)

    def remove_slot(self, slot_id: str) -> None:
        """Remove a slot; its calls are ready again, first in their queues, with their attempts."""
        keys = self.slots.remove(slot_id) if slot_id in self.slots else []
        # Each goes to the front of its queues, so the last goes first to keep their order.
        for key in reversed(keys):
            self._state.requeue(self._tasks[key])

    def hosted(self, slot_id: str, model: str) -> None:
        """Record that a slot has loaded a model; ignored if the slot's present model is another."""
        if slot_id in self.slots and self.slots.model(slot_id) == model:
            self.slots.loaded(slot_id)
            self._state.dirty[model] = None

    def refused(self, slot_id: str, model: str) -> None:
        """Empty a slot that could not load a model, and give the model no further replicas.

        Ignored if the slot's present model is another.
        """
        if slot_id in self.slots and self.slots.model(slot_id) == model:
            self.slots.loaded(slot_id, refused=True)
            self._placement.forbid_replicas(model)

    def model_lost(self, model: str | None) -> list[str]:
        """Fail the waiting tasks of a model that no slot will ever host.

        Args:
            model: The model; None stands for tasks without a model, when no slot is left.

        Returns:
            The keys of the failed tasks and of their skipped evaluations.
        """
        ended: list[str] = []
        for entry in list(self._tasks):
            if entry.task.model == model and entry.state in (State.BLOCKED, State.READY):
                ended += self._state.fail(entry)
        return ended

    # -- decisions -------------------------------------------------------------------------

    def decide(self, now: float) -> list[Decision]:
        """Decide all starts and loads that slots, windows and the byte budget allow.

        Each decision has taken effect in the scheduler's state when the method returns.

        Args:
            now: Time in seconds, on the clock of ``failed``.

        Returns:
            The decisions, to be carried out in their order.
        """
        state = self._state
        for key in state.retries.due(now):
            state.make_ready(self._tasks[key], first=True)
        decisions: list[Decision] = [*self._starter.fill()]
        if self.slots.any_free() or self.slots.draining() or self._placement.any_unhosted():
            placed, resumed = self._placement.decide(
                attacks=not state.in_flight.full(), switch_cost=self._switch_cost
            )
            decisions += placed
            if resumed:
                state.dirty.update((model or ANY, None) for model in resumed)
                decisions += self._starter.fill()
        return [*decisions, *self._starter.fill_empty()]

    def start(self, key: str, slot_id: str) -> None:
        """Start a ready task on a slot, without a decision of this scheduler.

        Simulations use it to reproduce the calls under way.

        Args:
            key: The task's key.
            slot_id: The slot.
        """
        entry = self._tasks[key]
        self._state.unqueue(entry)
        self._starter.start(entry, slot_id)

    # -- events ----------------------------------------------------------------------------

    def done(self, key: str) -> None:
        """Record a task's committed result: its slot has room, its evaluations are ready."""
        state, entry = self._state, self._tasks.get(key)
        if entry is None or entry.state in FINAL:
            return
        state.unqueue(entry)
        state.release(entry)
        state.end(entry, State.DONE)
        for evaluation in self._tasks.evaluations(key):
            if evaluation.state is State.BLOCKED:
                state.make_ready(evaluation)
        state.release_bytes(entry.task.depends_on or key)
        if not entry.clients:
            state.drop(key)

    def failed(self, key: str, *, retry: bool, now: float) -> list[str]:
        """Record the failure of a running task; any other task is left as it is.

        Args:
            key: The task's key.
            retry: Whether to try again while attempts are left.
            now: Time in seconds, on the clock of ``decide``.

        Returns:
            The keys of all tasks that ended: the task and its skipped evaluations. Empty if the
            task is tried again, or had no client.
        """
        state, entry = self._state, self._tasks.get(key)
        if entry is None or entry.state is not State.RUNNING:
            return []
        slot_id = str(entry.slot_id)
        state.release(entry)
        if not entry.clients:
            state.abandon(entry)
            return []
        entry.failures += 1
        if not retry or entry.failures >= self._attempts:
            return state.fail(entry)
        state.back_off(entry, slot_id, now)
        return []

    def invalidated(self, key: str) -> None:
        """Compute a done attack with damaged AEs again; its open evaluations wait for it."""
        state, entry = self._state, self._tasks.get(key)
        if entry is None or entry.state is not State.DONE:
            return
        for evaluation in self._tasks.evaluations(key):
            if evaluation.state not in FINAL:
                state.block(evaluation)
        state.in_flight.release(key)
        entry.state = State.BLOCKED
        self._tasks.expect(entry.task)
        state.settle(entry)
