"""The scheduler: a pure state machine over slots, tasks and events. No Ray, torch or clock.

A slot hosts models and takes up to ``window`` calls. On a slot, evaluations go before attacks
(they free memory), and attacks of the model with most work left go first. A task that several
clients want is done once. Memory is linear: one record a task, one entry a dependency.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from orchestrator.plan import Task


class State(Enum):
    """Where a task stands."""

    BLOCKED = "blocked"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


FINAL = frozenset({State.DONE, State.FAILED, State.SKIPPED, State.CANCELLED})
ANY = "any"  # the queue of tasks that need no model of their own


@dataclass(frozen=True)
class Slot:
    """A device share that hosts models, named by fingerprint."""

    slot_id: str
    models: frozenset[str]


@dataclass(frozen=True)
class Assignment:
    """A decision: this task on this slot, now."""

    task: Task
    slot_id: str


@dataclass
class _Record:
    task: Task
    state: State
    clients: set[str] = field(default_factory=set)
    slot_id: str | None = None
    failures: int = 0


class Scheduler:
    """Decides what runs where; told by events what became of it."""

    def __init__(self, *, window: int, attempts: int, in_flight_bytes: int) -> None:
        self.window = window
        self.attempts = attempts
        self.in_flight_bytes = in_flight_bytes
        self._records: dict[str, _Record] = {}
        self._dependants: dict[str, list[str]] = defaultdict(list)
        self._slots: dict[str, Slot] = {}
        self._load: dict[str, int] = {}
        self._evaluations: dict[str, deque[str]] = defaultdict(deque)
        self._attacks: dict[str, deque[str]] = defaultdict(deque)
        self._remaining: dict[str, float] = defaultdict(float)
        self._held: dict[str, int] = {}  # attack key -> bytes of AEs that await scoring
        self._held_bytes = 0

    # -- clients ---------------------------------------------------------------------------

    def submit(self, client: str, tasks: Mapping[str, Task], stored: Iterable[str]) -> None:
        """Take a client's tasks; those ``stored`` are done already, equal ones are shared."""
        done = set(stored)
        for key, task in tasks.items():
            record = self._records.get(key)
            if record is None or record.state in (State.CANCELLED, State.FAILED, State.SKIPPED):
                state = State.DONE if key in done else State.BLOCKED
                record = self._records[key] = _Record(task, state)
                if task.depends_on and key not in self._dependants[task.depends_on]:
                    self._dependants[task.depends_on].append(key)
            record.clients.add(client)
        for key in tasks:
            if self._records[key].state is State.BLOCKED:
                self._settle_blocked(key)

    def cancel(self, client: str) -> list[str]:
        """Drop a client; returns the keys cancelled because nobody else wants them."""
        dropped = []
        for key, record in self._records.items():
            if client in record.clients:
                record.clients.discard(client)
                if not record.clients and record.state in (State.BLOCKED, State.READY):
                    self._leave_queue(record)
                    record.state = State.CANCELLED
                    dropped.append(key)
        for key in dropped:
            self._unhold_if_scored(self._records[key].task.depends_on or key)
        return dropped

    def state(self, key: str) -> State:
        return self._records[key].state

    def clients_of(self, key: str) -> set[str]:
        return self._records[key].clients

    def dependants(self, key: str) -> list[Task]:
        """The tasks that score what ``key`` makes."""
        return [self._records[k].task for k in self._dependants.get(key, ())]

    # -- slots -----------------------------------------------------------------------------

    def slots(self) -> list[Slot]:
        return list(self._slots.values())

    def add_slot(self, slot: Slot) -> None:
        self._slots[slot.slot_id] = slot
        self._load[slot.slot_id] = 0

    def remove_slot(self, slot_id: str) -> None:
        """Forget a slot; what ran there waits again, without a mark against it."""
        self._slots.pop(slot_id, None)
        self._load.pop(slot_id, None)
        for record in self._records.values():
            if record.state is State.RUNNING and record.slot_id == slot_id:
                self._requeue(record)

    def model_lost(self, model: str | None) -> list[str]:
        """No slot will host this model again (None: any model); fail what needs it. Returns all
        keys that ended."""
        ended: list[str] = []
        for key, record in list(self._records.items()):
            if record.task.model == model and record.state in (State.BLOCKED, State.READY):
                ended += self._fail(key)
        return ended

    # -- decisions -------------------------------------------------------------------------

    def decide(self) -> list[Assignment]:
        """Every assignment that slots, windows and the byte budget allow now."""
        assignments: list[Assignment] = []
        progress = True
        while progress:
            progress = False
            for slot in sorted(self._slots.values(), key=lambda s: self._load[s.slot_id]):
                if self._load[slot.slot_id] >= self.window:
                    continue
                key = self._pick(slot)
                if key is None:
                    continue
                record = self._records[key]
                record.state, record.slot_id = State.RUNNING, slot.slot_id
                self._load[slot.slot_id] += 1
                if record.task.kind == "attack":
                    self._hold(record.task)
                assignments.append(Assignment(record.task, slot.slot_id))
                progress = True
        return assignments

    def _pick(self, slot: Slot) -> str | None:
        hosted = sorted(slot.models, key=lambda m: -self._remaining[m])
        for model in hosted:
            if key := self._pop(self._evaluations[model]):
                return key
        over = self._held_bytes > 0 and self._held_bytes >= self.in_flight_bytes
        if over:
            return None
        for model in (ANY, *hosted):
            if key := self._pop(self._attacks[model]):
                return key
        return None

    def _pop(self, queue: deque[str]) -> str | None:
        while queue:
            key = queue.popleft()
            if self._records[key].state is State.READY:
                return key
        return None

    # -- events ----------------------------------------------------------------------------

    def done(self, key: str) -> None:
        """A task's result is committed: release its slot, wake what depends on it."""
        record = self._records[key]
        self._release(record)
        self._leave_queue(record)
        record.state = State.DONE
        for dependant in self._dependants.get(key, ()):
            if self._records[dependant].state is State.BLOCKED:
                self._make_ready(self._records[dependant])
        self._unhold_if_scored(record.task.depends_on or key)

    def failed(self, key: str, *, retry: bool) -> list[str]:
        """A task failed: wait again if ``retry`` and attempts are left, else end it and skip
        what depends on it. Returns all keys that ended."""
        record = self._records[key]
        if record.state is not State.RUNNING:
            return []
        self._release(record)
        record.failures += 1
        if retry and record.failures < self.attempts:
            self._requeue(record)
            return []
        return self._fail(key)

    def invalidated(self, key: str) -> None:
        """A stored attack turned out corrupt: make it again before what depends on it."""
        record = self._records[key]
        if record.state is State.DONE:
            self._unhold(key)
            record.state = State.BLOCKED
            self._settle_blocked(key)
        for dependant in self._dependants.get(key, ()):
            waiting = self._records[dependant]
            if waiting.state in (State.READY, State.RUNNING):
                self._release(waiting)
                self._leave_queue(waiting)
                waiting.state = State.BLOCKED

    # -- bookkeeping -----------------------------------------------------------------------

    def _settle_blocked(self, key: str) -> None:
        record = self._records[key]
        needed = self._records.get(record.task.depends_on or "")
        if needed is None or needed.state is State.DONE:
            self._make_ready(record)
        elif needed.state in (State.FAILED, State.SKIPPED, State.CANCELLED):
            record.state = State.SKIPPED

    def _make_ready(self, record: _Record) -> None:
        record.state = State.READY
        record.slot_id = None
        self._remaining[record.task.model or ANY] += record.task.cost
        self._queue(record).append(record.task.key)

    def _requeue(self, record: _Record) -> None:
        """A call came to nothing: first in its queue again, unless nobody wants it any more."""
        record.slot_id = None
        self._unhold(record.task.key)
        if not record.clients:
            self._leave_queue(record)
            record.state = State.CANCELLED
            self._unhold_if_scored(record.task.depends_on or record.task.key)
            return
        record.state = State.READY
        self._queue(record).appendleft(record.task.key)

    def _queue(self, record: _Record) -> deque[str]:
        queues = self._attacks if record.task.kind == "attack" else self._evaluations
        return queues[record.task.model or ANY]

    def _leave_queue(self, record: _Record) -> None:
        """Its queue entry stays and is passed over; only the work left is corrected."""
        if record.state in (State.READY, State.RUNNING):
            self._remaining[record.task.model or ANY] -= record.task.cost

    def _release(self, record: _Record) -> None:
        if record.state is State.RUNNING and record.slot_id in self._load:
            self._load[record.slot_id] -= 1
        record.slot_id = None

    def _fail(self, key: str) -> list[str]:
        record = self._records[key]
        self._leave_queue(record)
        record.state = State.FAILED
        ended = [key]
        for dependant in self._dependants.get(key, ()):
            waiting = self._records[dependant]
            if waiting.state is State.BLOCKED:
                waiting.state = State.SKIPPED
                ended.append(dependant)
        self._unhold_if_scored(record.task.depends_on or key)
        return ended

    def _hold(self, task: Task) -> None:
        if task.key not in self._held:
            self._held[task.key] = task.nbytes
            self._held_bytes += task.nbytes

    def _unhold(self, attack: str) -> None:
        self._held_bytes -= self._held.pop(attack, 0)

    def _unhold_if_scored(self, attack: str) -> None:
        """AEs leave memory once nothing waits to score them."""
        record = self._records.get(attack)
        if attack not in self._held or (record and record.state not in FINAL):
            return
        if all(self._records[k].state in FINAL for k in self._dependants.get(attack, ())):
            self._unhold(attack)
