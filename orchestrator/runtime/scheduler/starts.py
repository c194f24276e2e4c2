"""Which ready tasks start on which slots, in what order."""

from collections.abc import Mapping
from dataclasses import dataclass

from segtransfer.experiment.task import Task
from segtransfer.runtime.scheduler.in_flight_limit import InFlightLimit
from segtransfer.runtime.scheduler.queues import ReadyQueues
from segtransfer.runtime.scheduler.retries import Retries
from segtransfer.runtime.scheduler.slots import Slots
from segtransfer.runtime.scheduler.task_table import ANY, State, TaskEntry

# So many tasks that failed on a slot are passed over for one that may run there.
PASSES = 32


@dataclass(frozen=True)
class Start:
    """A decision: this task on this slot, now."""

    task: Task
    slot_id: str


class Starter:
    """Starts tasks on slots that host their models.

    Looks at the models alone that an event made ``dirty``: they may have both ready work and room.
    """

    def __init__(
        self,
        slots: Slots,
        queues: ReadyQueues,
        budget: InFlightLimit,
        retries: Retries,
        remaining: Mapping[str, float],
    ) -> None:
        self.dirty: dict[str, None] = {}
        self.held_back: dict[str, None] = {}  # models whose attacks wait for bytes, longest first
        self._slots = slots
        self._queues = queues
        self._budget = budget
        self._retries = retries
        self._remaining = remaining

    def fill(self) -> list[Start]:
        """Start what can start: evaluations, then what needs no model, then attacks, those of the
        model that the budget held back for longest first, then of that with most work left."""
        starts: list[Start] = []
        dirty, self.dirty = self.dirty, {}
        for model in dirty:
            self._fill_model(model, "evaluate", starts)
        self._fill_model(ANY, "attack", starts)
        new = [m for m in dirty if m not in self.held_back and self._queues.count(m, "attack")]
        if len(new) > 1:
            new.sort(key=lambda model: -self._remaining[model])
        if self._budget.full():
            self.held_back.update(dict.fromkeys(new))
            return starts
        had_turn = []
        for model in (*self.held_back, *new):
            before = len(starts)
            held_back = self._fill_model(model, "attack", starts)
            if held_back and len(starts) == before:
                self.held_back[model] = None
            else:
                self.held_back.pop(model, None)
            if held_back and len(starts) > before:
                had_turn.append(model)
        self.held_back.update(dict.fromkeys(had_turn))
        return starts

    def fill_empty(self) -> list[Start]:
        """Start what needs no model on slots that are empty: when no model wants them, since the
        call would delay its loading."""
        starts: list[Start] = []
        self._fill_model(ANY, "attack", starts, empty=True)
        return starts

    def _fill_model(
        self, model: str, kind: str, starts: list[Start], *, empty: bool = False
    ) -> bool:
        """Start a model's ready tasks of one kind; whether the byte budget held some back."""
        host, budget = model or None, self._budget
        passed: list[TaskEntry] = []
        held_back = False
        while len(passed) < PASSES and self._queues.count(model, kind):
            held_back = kind == "attack" and budget.full()
            slot_id = None if held_back else self._slots.with_room(host, empty=empty)
            record = self._queues.pop(model, kind) if slot_id is not None else None
            if record is None or slot_id is None:
                break
            held_back = kind == "attack" and not budget.fits(record.task)
            if held_back:
                passed.append(record)
                break
            if slot_id == self._retries.failed_on(record.task.key):
                slot_id = self._elsewhere(host, slot_id, empty)
            if slot_id is None:
                passed.append(record)
            else:
                starts.append(self._start(record, slot_id))
        for record in reversed(passed):
            self._queues.push(record, first=True)
            self.dirty[model] = None  # it may start without an event of its own
        return held_back

    def _elsewhere(self, model: str | None, failed_on: str, empty: bool) -> str | None:
        """Where to try a task again: not where it failed, unless no other slot hosts its model."""
        slot_id = self._slots.with_room(model, unless=failed_on, empty=empty)
        if slot_id is None and not self._slots.others(model, failed_on):
            return failed_on
        return slot_id

    def _start(self, record: TaskEntry, slot_id: str) -> Start:
        record.state, record.slot_id = State.RUNNING, slot_id
        self._slots.begin(slot_id, record.task.key, record.task.cost)
        self._queues.charge(record)
        if record.task.attack is not None:
            self._budget.hold(record.task)
        return Start(record.task, slot_id)
