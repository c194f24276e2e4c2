"""The parts of the scheduler's state, and the transitions of a task that keep them consistent."""

from segtransfer.runtime.scheduler.in_flight_limit import InFlightLimit
from segtransfer.runtime.scheduler.queues import ReadyQueues
from segtransfer.runtime.scheduler.retries import Retries
from segtransfer.runtime.scheduler.slots import Slots
from segtransfer.runtime.scheduler.task_table import (
    ANY,
    ENDED_BADLY,
    FINAL,
    State,
    TaskEntry,
    TaskTable,
)


class SchedulerState:
    """Slots, tasks, ready queues, pending retries and bytes in flight.

    Each method takes a task through a transition, and updates every part that counts the task.

    Args:
        window: Most calls of a slot at a time.
        in_flight_bytes: Budget for AEs in flight, in bytes.
        back_off: Seconds from a task's first failure to its retry.
    """

    def __init__(self, *, window: int, in_flight_bytes: int, back_off: float) -> None:
        self.slots = Slots(window)
        self.queues = ReadyQueues()
        self.in_flight = InFlightLimit(in_flight_bytes)
        self.retries = Retries(back_off)
        self.tasks = TaskTable()
        self.dirty: dict[str, None] = {}  # models whose ready tasks or whose slots have changed
        self.unwanted: dict[str, None] = {}  # keys of running tasks that lost their last client

    def settle(self, entry: TaskEntry) -> None:
        """Make a blocked task ready, or skip the task, as the state of its attack demands.

        Args:
            entry: The task; it stays blocked while its attack is open.
        """
        attack = self.tasks.get(entry.task.depends_on)
        if attack is None or attack.state is State.DONE:
            self.make_ready(entry)
        elif attack.state in ENDED_BADLY:
            self.end(entry, State.SKIPPED)

    def make_ready(self, entry: TaskEntry, *, first: bool = False) -> None:
        """Add a task to its ready queues.

        Args:
            entry: The task.
            first: Whether to add the task at the front rather than the end.
        """
        entry.state, entry.slot_id = State.READY, None
        self.queues.push(entry, first=first)
        self.dirty[entry.task.model or ANY] = None

    def requeue(self, entry: TaskEntry) -> None:
        """Return a task whose call was lost to the front of its queues, or end it if unwanted."""
        self.in_flight.release(entry.task.key)
        if entry.clients:
            self.make_ready(entry, first=True)
        else:
            self.abandon(entry)

    def back_off(self, entry: TaskEntry, slot_id: str, now: float) -> None:
        """Block a failed task until its retry is due.

        Args:
            entry: The task, with the number of its failures.
            slot_id: The slot of the failed call.
            now: Time in seconds.
        """
        self.in_flight.release(entry.task.key)
        entry.state = State.BLOCKED
        self.retries.add(entry.task.key, slot_id, entry.failures, now)

    def block(self, entry: TaskEntry) -> None:
        """Block an unfinished task whose attack is made again, or end the task if unwanted.

        The task leaves its queue, its slot and its wait for a retry. It is ready again once the
        attack is done.
        """
        self.unqueue(entry)
        self.release(entry)
        entry.state = State.BLOCKED
        self.retries.stop_waiting(entry.task.key)
        if not entry.clients:
            self.abandon(entry)

    def abandon(self, entry: TaskEntry) -> None:
        """Cancel and drop a task without clients."""
        self.end(entry, State.CANCELLED)
        self.drop(entry.task.key)

    def unqueue(self, entry: TaskEntry) -> None:
        """Take a task out of the ready queues, if the task is ready."""
        if entry.state is State.READY:
            self.queues.drop(entry)

    def release(self, entry: TaskEntry) -> None:
        """Release the slot of a task, if the task is running."""
        if entry.state is State.RUNNING:
            model = self.slots.end(entry.slot_id, entry.task.key)
            if model is not None:
                self.dirty[model] = None
        entry.slot_id = None

    def end(self, entry: TaskEntry, state: State) -> None:
        """Give a task its final state, and delete its retry.

        Args:
            entry: The task, in no queue and on no slot.
            state: A state of ``FINAL``.
        """
        entry.state = state
        self.retries.forget(entry.task.key)
        self.tasks.ended(entry.task)

    def fail(self, entry: TaskEntry) -> list[str]:
        """Fail a task and skip the evaluations of its AEs.

        Args:
            entry: The task, which holds no slot.

        Returns:
            The keys of all tasks that ended, the failed task first.
        """
        self.unqueue(entry)
        self.end(entry, State.FAILED)
        key = entry.task.key
        ended = [key]
        for evaluation in self.tasks.evaluations(key):
            if evaluation.state is State.BLOCKED:
                self.end(evaluation, State.SKIPPED)
                ended.append(evaluation.task.key)
        self.release_bytes(entry.task.depends_on or key)
        return ended

    def drop(self, key: str) -> None:
        """Delete a task that has ended and has no clients."""
        attack = self.tasks.drop(key).task.depends_on
        self.in_flight.release(key)
        self.unwanted.pop(key, None)
        if attack is not None:
            self.release_bytes(attack)

    def release_bytes(self, attack: str) -> None:
        """Release the bytes of an attack that has ended, once no evaluation needs its AEs.

        Args:
            attack: Key of the attack; an attack without held bytes is ignored.
        """
        if attack not in self.in_flight:
            return
        entry = self.tasks.get(attack)
        if entry is not None and entry.state not in FINAL:
            return
        if all(evaluation.state in FINAL for evaluation in self.tasks.evaluations(attack)):
            self.in_flight.release(attack)
