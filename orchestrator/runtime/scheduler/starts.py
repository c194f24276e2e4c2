"""Starts of ready tasks: the slot of each, and their order."""

from dataclasses import dataclass

from segtransfer.experiment.task import Task
from segtransfer.runtime.scheduler.state import SchedulerState
from segtransfer.runtime.scheduler.task_table import ANY, State, TaskEntry

# Most tasks skipped, because they failed on the free slot, in search of a task for the slot.
MOST_SKIPPED = 32


@dataclass(frozen=True)
class Start:
    """A decision: this task on this slot, now."""

    task: Task
    slot_id: str


class Starter:
    """Starts tasks on slots that host their models.

    Only the models marked ``dirty`` by an event are looked at, because no other model can have
    gained both ready work and room.
    """

    def __init__(self, state: SchedulerState) -> None:
        self.held_back: dict[str, None] = {}  # models whose attacks wait for bytes, longest first
        self._state = state

    def fill(self) -> list[Start]:
        """Start tasks: evaluations, then tasks without a model, then attacks.

        Attacks of the model held back longest by the byte budget go first, then attacks of the
        model with the most remaining work.

        Returns:
            The starts, in their order.
        """
        state = self._state
        starts: list[Start] = []
        dirty, state.dirty = state.dirty, {}
        for model in dirty:
            self._fill_model(model, "evaluate", starts)
        self._fill_model(ANY, "attack", starts)
        new = [m for m in dirty if m not in self.held_back and state.queues.count(m, "attack")]
        if len(new) > 1:
            new.sort(key=lambda model: -state.tasks.remaining[model])
        if state.in_flight.full():
            self.held_back.update(dict.fromkeys(new))
            return starts
        to_the_end = []
        for model in (*self.held_back, *new):
            before = len(starts)
            held_back = self._fill_model(model, "attack", starts)
            if held_back and len(starts) == before:
                self.held_back[model] = None
            else:
                self.held_back.pop(model, None)
            if held_back and len(starts) > before:
                to_the_end.append(model)
        self.held_back.update(dict.fromkeys(to_the_end))
        return starts

    def fill_empty(self) -> list[Start]:
        """Start tasks without a model on any slot with room, empty slots included.

        The caller makes sure that no model wants the empty slots, because the calls would delay a
        load.

        Returns:
            The starts, in their order.
        """
        starts: list[Start] = []
        self._fill_model(ANY, "attack", starts, empty=True)
        return starts

    def _fill_model(
        self, model: str, kind: str, starts: list[Start], *, empty: bool = False
    ) -> bool:
        """Start a model's ready tasks of a kind, as long as slots and the byte budget allow.

        Args:
            model: The model, or ``ANY``.
            kind: "attack" or "evaluate".
            starts: The list to append the starts to.
            empty: Whether slots without a model count if the model is ``ANY``.

        Returns:
            Whether the byte budget held attacks back.
        """
        state, host = self._state, model or None
        skipped: list[TaskEntry] = []
        held_back = False
        while len(skipped) < MOST_SKIPPED and state.queues.count(model, kind):
            held_back = kind == "attack" and state.in_flight.full()
            slot_id = None if held_back else state.slots.with_room(host, empty=empty)
            entry = state.queues.pop(model, kind) if slot_id is not None else None
            if entry is None or slot_id is None:
                break
            held_back = kind == "attack" and not state.in_flight.fits(entry.task)
            if held_back:
                skipped.append(entry)
                break
            if slot_id == state.retries.failed_on(entry.task.key):
                slot_id = self._slot_for_retry(host, slot_id, empty)
            if slot_id is None:
                skipped.append(entry)
            else:
                starts.append(self.start(entry, slot_id))
        for entry in reversed(skipped):
            state.queues.push(entry, first=True)
            state.dirty[model] = None  # The entry may start later without an event of its own.
        return held_back

    def _slot_for_retry(self, model: str | None, failed_on: str, empty: bool) -> str | None:
        """Return another slot than the slot of the failure, unless no other hosts the model."""
        slots = self._state.slots
        slot_id = slots.with_room(model, unless=failed_on, empty=empty)
        if slot_id is None and not slots.hosted_elsewhere(model, failed_on):
            return failed_on
        return slot_id

    def start(self, entry: TaskEntry, slot_id: str) -> Start:
        """Make a task that no queue holds a call of a slot.

        Args:
            entry: The task.
            slot_id: The slot.

        Returns:
            The decision.
        """
        state = self._state
        entry.state, entry.slot_id = State.RUNNING, slot_id
        state.slots.begin(slot_id, entry.task.key, entry.task.cost)
        state.queues.charge(entry)
        if entry.task.attack is not None:
            state.in_flight.hold(entry.task)
        return Start(entry.task, slot_id)
