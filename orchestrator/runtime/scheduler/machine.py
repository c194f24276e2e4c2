"""The state machine: tasks, slots and clients; told by events what became of each decision."""

from collections import Counter
from collections.abc import Iterable, Mapping

from segtransfer.experiment.task import Task
from segtransfer.runtime.scheduler.in_flight_limit import InFlightLimit
from segtransfer.runtime.scheduler.placement import Host, place
from segtransfer.runtime.scheduler.queues import ReadyQueues
from segtransfer.runtime.scheduler.retries import Retries
from segtransfer.runtime.scheduler.slots import Slot, Slots
from segtransfer.runtime.scheduler.starts import Start, Starter
from segtransfer.runtime.scheduler.task_table import (
    ANY,
    ENDED_BADLY,
    FINAL,
    State,
    TaskEntry,
    TaskTable,
)

# What it costs a slot to change its model, in image forwards: seconds, against a tenth of one.
SWITCH_COST = 100.0
# A slot may be taken from a model with work left once it has done this many times what a change
# costs, so that changes there and back take a twenty-fifth of the time at most.
TURN = 50.0

Decision = Start | Host


class Scheduler:
    """Decides what runs where.

    A slot hosts one model and takes up to ``window`` calls; evaluations go before attacks. AEs that
    await scoring fill ``in_flight_bytes`` at most, but that one attack may always run. A task that
    failed for no fault of its own is tried ``attempts`` times, ``back_off`` seconds later (then
    twice that, ...) and elsewhere where that is possible. ``switch_cost`` is in the unit of the
    tasks' costs, and may be set at any time. A client asks for what its tasks depend on, too.

    Memory is linear: a task takes about 0.2 kB beside the ``Task`` itself.
    """

    def __init__(
        self,
        *,
        window: int,
        attempts: int,
        in_flight_bytes: int,
        switch_cost: float = SWITCH_COST,
        back_off: float = 1.0,
    ) -> None:
        self._attempts = attempts
        self._slots = Slots(window)
        self.switch_cost = switch_cost
        self._queues = ReadyQueues()
        self._budget = InFlightLimit(in_flight_bytes)
        self._retries = Retries(back_off)
        self._records = TaskTable()
        self._starter = Starter(
            self._slots, self._queues, self._budget, self._retries, self._records.remaining
        )
        self._clients: dict[str, dict[str, None]] = {}
        self._homeless: dict[str, int] = {}  # models that wait for a slot, see ``place``
        self._single: dict[str, None] = {}  # models that some slot could not load
        self._unwanted: dict[str, None] = {}

    # -- clients ---------------------------------------------------------------------------

    def submit(self, client: str, tasks: Mapping[str, Task], stored: Iterable[str]) -> None:
        """Take a client's tasks; those ``stored`` are done already, equal ones are shared."""
        done = stored if isinstance(stored, set | frozenset) else set(stored)
        alone: tuple[str, ...] = (client,)
        self._clients.setdefault(client, {}).update(dict.fromkeys(tasks))
        new: list[TaskEntry] = []
        for key, task in tasks.items():
            record = self._records.get(key)
            if record is not None and record.state not in ENDED_BADLY:
                if client not in record.clients:
                    record.clients = (*record.clients, client)
                    if record.state is State.READY:
                        self._queues.share(record, client)
                continue
            clients = alone
            if record is not None and record.clients != alone:
                clients = (*(c for c in record.clients if c != client), client)
            state = State.DONE if key in done else State.BLOCKED
            fresh = TaskEntry(task, state, clients)
            self._records.put(fresh)
            if state is State.BLOCKED:
                new.append(fresh)
                self._records.expect(task)
        # The longest attacks first, so that none is left over at the end; else the plan's order.
        new.sort(key=lambda r: -r.task.cost if r.task.attack is not None else 0.0)
        for fresh in new:
            self._settle(fresh)

    def cancel(self, client: str) -> list[str]:
        """Drop a client; returns the keys cancelled because nobody else wants them. Calls under
        way that nobody wants any more are ``unwanted``."""
        self._queues.leave(client)
        cancelled, ended = [], []
        for key in self._clients.pop(client, ()):
            record = self._records[key]
            record.clients = tuple(c for c in record.clients if c != client)
            if record.clients:
                continue
            if record.state is State.RUNNING:
                self._unwanted[key] = None
                continue
            if record.state not in FINAL:
                self._unqueue(record)
                self._end(record, State.CANCELLED)
                cancelled.append(key)
            ended.append(key)
        for key in ended:
            self._drop(key)
        return cancelled

    def forget(self, client: str) -> None:
        """Drop the records of a client that is through, but for those that others want."""
        self.cancel(client)

    def unwanted(self) -> list[str]:
        """Running tasks that nobody wants any more, each named once."""
        found, self._unwanted = self._unwanted, {}
        return [key for key in found if not self._records[key].clients]

    def state(self, key: str) -> State | None:
        """Where a task stands; None where nobody asks for it any more."""
        record = self._records.get(key)
        return record.state if record else None

    def tasks_of(self, client: str) -> list[str]:
        """The keys that a client asked for."""
        return list(self._clients.get(client, ()))

    def counts(self) -> dict[str, int]:
        """How many tasks of all clients are in each state."""
        found = Counter(record.state for record in self._records)
        return {state.value: found[state] for state in State}

    def dependants(self, key: str) -> list[Task]:
        """The tasks that score what ``key`` makes."""
        return [record.task for record in self._records.scorers(key)]

    @property
    def switch_cost(self) -> float:
        return self._switch_cost

    @switch_cost.setter
    def switch_cost(self, cost: float) -> None:
        self._switch_cost = cost
        self._slots.turn = TURN * cost

    @property
    def held_bytes(self) -> int:
        """Bytes of AEs that are being made or await scoring."""
        return self._budget.bytes

    @property
    def in_flight_bytes(self) -> int:
        """The byte budget; may be set at any time."""
        return self._budget.limit

    @in_flight_bytes.setter
    def in_flight_bytes(self, limit: int) -> None:
        self._budget.limit = limit

    # -- slots -----------------------------------------------------------------------------

    @property
    def slots(self) -> Slots:
        return self._slots

    def add_slot(self, slot: Slot) -> None:
        """A slot joins, empty; one of that name that was there before is gone."""
        self.remove_slot(slot.slot_id)
        self._slots.add(slot)

    def remove_slot(self, slot_id: str) -> None:
        """Forget a slot; what ran there waits again, without a mark against it."""
        keys = self._slots.remove(slot_id) if slot_id in self._slots else []
        # Each goes to the front of its line: the last first keeps their order.
        for key in reversed(keys):
            self._requeue(self._records[key])

    def hosted(self, slot_id: str, model: str) -> None:
        """A slot has loaded a model and takes its tasks."""
        if slot_id in self._slots and self._slots.model(slot_id) == model:
            self._slots.loaded(slot_id)
            self._starter.dirty[model] = None

    def refused(self, slot_id: str, model: str) -> None:
        """A slot could not load a model, and is empty; the model gets no further replicas."""
        if slot_id in self._slots and self._slots.model(slot_id) == model:
            self._slots.loaded(slot_id, refused=True)
            self._single[model] = None

    def model_lost(self, model: str | None) -> list[str]:
        """No slot will ever host this model (None: no slot is left, for tasks that need no
        model); fail what needs it. Returns all keys that ended."""
        ended: list[str] = []
        for record in list(self._records):
            if record.task.model == model and record.state in (State.BLOCKED, State.READY):
                ended += self._fail(record)
        return ended

    # -- decisions -------------------------------------------------------------------------

    def decide(self, now: float) -> list[Decision]:
        """All that slots, windows and the byte budget allow now; ``now`` in seconds."""
        for key in self._retries.due(now):
            self._make_ready(self._records[key], first=True)
        decisions: list[Decision] = [*self._starter.fill()]
        if self._slots.any_free() or self._slots.draining() or self._any_homeless():
            placed, resumed = place(
                self._slots,
                self._queues,
                self._records.remaining,
                self._homeless,
                single=self._single,
                attacks=not self._budget.full(),
                switch_cost=self._switch_cost,
            )
            decisions += placed
            if resumed:
                self._starter.dirty.update((model or ANY, None) for model in resumed)
                decisions += self._starter.fill()
        return [*decisions, *self._starter.fill_empty()]

    def _any_homeless(self) -> bool:
        hosts = self._slots.hosts
        return any(not hosts(model) for model in self._queues.models(attacks=True))

    # -- events ----------------------------------------------------------------------------

    def done(self, key: str) -> None:
        """A task's result is committed: release its slot, wake what depends on it."""
        record = self._records.get(key)
        if record is None or record.state in FINAL:
            return
        self._unqueue(record)
        self._release(record)
        self._end(record, State.DONE)
        for waiting in self._records.scorers(key):
            if waiting.state is State.BLOCKED:
                self._make_ready(waiting)
        self._release_bytes(record.task.depends_on or key)
        if not record.clients:
            self._drop(key)

    def failed(self, key: str, *, retry: bool, now: float) -> list[str]:
        """A task failed: wait again if ``retry`` and attempts are left, else end it and skip
        what depends on it. Returns all keys that ended."""
        record = self._records.get(key)
        if record is None or record.state is not State.RUNNING:
            return []
        slot_id = str(record.slot_id)
        self._release(record)
        if not record.clients:
            self._abandon(record)
            return []
        record.failures += 1
        if not retry or record.failures >= self._attempts:
            return self._fail(record)
        self._budget.release(key)
        record.state = State.BLOCKED
        self._retries.add(key, slot_id, record.failures, now)
        return []

    def invalidated(self, key: str) -> None:
        """A stored attack turned out corrupt: make it again before what depends on it."""
        record = self._records.get(key)
        if record is None or record.state is not State.DONE:
            return
        for waiting in self._records.scorers(key):
            if waiting.state in FINAL:
                continue
            self._unqueue(waiting)
            self._release(waiting)
            waiting.state = State.BLOCKED
            self._retries.stop_waiting(waiting.task.key)
            if not waiting.clients:
                self._abandon(waiting)
        self._budget.release(key)
        record.state = State.BLOCKED
        self._records.expect(record.task)
        self._settle(record)

    # -- bookkeeping -----------------------------------------------------------------------

    def _settle(self, record: TaskEntry) -> None:
        """Decide where a task that has not begun stands, from what it depends on."""
        needed = self._records.get(record.task.depends_on)
        if needed is None or needed.state is State.DONE:
            self._make_ready(record)
        elif needed.state in ENDED_BADLY:
            self._end(record, State.SKIPPED)

    def _make_ready(self, record: TaskEntry, *, first: bool = False) -> None:
        record.state, record.slot_id = State.READY, None
        self._queues.push(record, first=first)
        self._starter.dirty[record.task.model or ANY] = None

    def _requeue(self, record: TaskEntry) -> None:
        """A call came to nothing: first in line again, unless nobody wants it any more."""
        self._budget.release(record.task.key)
        if record.clients:
            self._make_ready(record, first=True)
        else:
            self._abandon(record)

    def _abandon(self, record: TaskEntry) -> None:
        self._end(record, State.CANCELLED)
        self._drop(record.task.key)

    def _unqueue(self, record: TaskEntry) -> None:
        if record.state is State.READY:
            self._queues.drop(record)

    def _release(self, record: TaskEntry) -> None:
        if record.state is State.RUNNING:
            model = self._slots.end(record.slot_id, record.task.key)
            if model is not None:
                self._starter.dirty[model] = None
        record.slot_id = None

    def _end(self, record: TaskEntry, state: State) -> None:
        record.state = state
        self._retries.forget(record.task.key)
        self._records.ended(record.task)

    def _fail(self, record: TaskEntry) -> list[str]:
        self._unqueue(record)
        self._end(record, State.FAILED)
        key = record.task.key
        ended = [key]
        for waiting in self._records.scorers(key):
            if waiting.state is State.BLOCKED:
                self._end(waiting, State.SKIPPED)
                ended.append(waiting.task.key)
        self._release_bytes(record.task.depends_on or key)
        return ended

    def _drop(self, key: str) -> None:
        """Forget a task that ended and that nobody asks for."""
        attack = self._records.drop(key).task.depends_on
        self._budget.release(key)
        self._unwanted.pop(key, None)
        if attack is not None:
            self._release_bytes(attack)

    def _release_bytes(self, attack: str) -> None:
        """AEs leave memory once nothing waits to score them."""
        if attack not in self._budget:
            return
        record = self._records.get(attack)
        if record is not None and record.state not in FINAL:
            return
        if all(scorer.state in FINAL for scorer in self._records.scorers(attack)):
            self._budget.release(attack)
