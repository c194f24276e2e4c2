"""Calls under way: their slots, their seconds so far, and their deadlines."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from segtransfer.experiment.task import Task
from segtransfer.runtime.paces import Paces
from segtransfer.runtime.scheduler import SWITCH_COST
from segtransfer.runtime.scheduler.slots import Slot, Slots
from segtransfer.runtime.status import SlotStatus
from segtransfer.tasks.data.shards import Shard

# The deadline of a call, as a multiple of the seconds of similar calls, which ended before or were
# measured by `plan --calibrate`.
DEADLINE_FACTOR = 20.0
# The deadline of a call if no similar call has ended.
FIRST_DEADLINE = 3600.0  # seconds
# Least cost of a change of models, in image forwards, because the next calls are slow.
LEAST_SWITCH_COST = 10.0
SMOOTHING = 0.3  # weight of the latest call in the moving mean of a slot's rate


@dataclass
class InFlightCall:
    """A task on a slot.

    Attributes:
        task: The task.
        shard: The shard of the task.
        slot_id: The slot.
        seconds: Seconds since the slot began to work on the call; set when the call ends or is
            late.
        deadline: Seconds allowed for the call; set when the call is late.
    """

    task: Task
    shard: Shard
    slot_id: str
    seconds: float = 0.0
    deadline: float = 0.0


@dataclass
class _CallQueue:
    """A slot's calls, in the order in which the slot works through them."""

    calls: dict[str, InFlightCall]
    since: float = 0.0  # when the slot began to work on the first call
    alone: float = 0.0  # seconds since then, weighed by the slot's share of its device's speed
    done: int = 0
    rate: float = 0.0  # cost per second of the last calls


class InFlightCalls:
    """The calls of all slots. A slot works on one call at a time; its other calls are queued.

    All times are seconds of the same monotonic clock.

    Args:
        least_deadline: The least seconds until a call's deadline.
        serial: Whether the slots work in turns, in the order of the calls.

    Attributes:
        paces: Seconds per unit of cost of the calls that have ended.
    """

    def __init__(self, least_deadline: float, *, serial: bool = False) -> None:
        self.paces = Paces()
        self._serial = serial
        self._last_end = self._advanced = 0.0
        self._least_deadline = least_deadline
        self._slot_of: dict[str, str] = {}
        self._queues: dict[str, _CallQueue] = {}
        self._loads, self._load_seconds = 0, 0.0
        self._seconds = self._cost = 0.0  # of all calls that have ended

    def loaded(self, seconds: float) -> None:
        """Record the seconds of a slot's load of a model."""
        self._loads += 1
        self._load_seconds += seconds

    def switch_cost(self) -> float:
        """Return the cost of a change of models, for the scheduler.

        The cost is the mean seconds of a load, over the mean seconds per unit of cost.

        Returns:
            Image forwards, at least ``LEAST_SWITCH_COST``; ``SWITCH_COST`` until a load and a call
            have ended.
        """
        if not self._loads or not self._cost:
            return SWITCH_COST
        return max(LEAST_SWITCH_COST, self.load_seconds() * self._cost / self._seconds)

    def load_seconds(self) -> float:
        """Return the mean time to load a model.

        Returns:
            Seconds; 0 before the first load.
        """
        return self._load_seconds / self._loads if self._loads else 0.0

    def begin(self, task: Task, shard: Shard, slot_id: str, now: float) -> None:
        """Add a call to a slot's queue.

        Args:
            task: The task of the call.
            shard: The shard of the task.
            slot_id: The slot.
            now: Time in seconds.
        """
        # An earlier call of the task may have ended without the slot's knowledge.
        old = self._slot_of.get(task.key)
        if old is not None:
            self._queues[old].calls.pop(task.key, None)
        queue = self._queues.setdefault(slot_id, _CallQueue({}))
        if not queue.calls:
            queue.since, queue.alone = now, 0.0
        queue.calls[task.key] = InFlightCall(task, shard, slot_id)
        self._slot_of[task.key] = slot_id

    def advance(self, now: float, slots: Slots) -> None:
        """Add the time since the last advance to the first call of each slot.

        Args:
            now: Time in seconds.
            slots: The slots as they were since the last advance.
        """
        for slot_id, queue in self._queues.items():
            if queue.calls and slot_id in slots:
                queue.alone += (now - max(self._advanced, queue.since)) * slots.speed(slot_id)
        self._advanced = now

    def end(self, key: str, now: float, *, failed: bool = False) -> InFlightCall | None:
        """Remove a call at its end, and learn its pace.

        Args:
            key: The task of the call.
            now: Time in seconds.
            failed: Whether the call failed; its pace is ignored then.

        Returns:
            The call with its seconds, or None if the call was removed before.
        """
        slot_id = self._slot_of.pop(key, None)
        if slot_id is None:
            return None
        queue = self._queues[slot_id]
        call = queue.calls.pop(key)
        begun = max(queue.since, self._last_end) if self._serial else queue.since
        call.seconds, queue.since, self._last_end = now - begun, now, now
        if not failed:
            queue.done += 1
            self._learn(call, queue)
        queue.alone = 0.0
        return call

    def drop_slot(self, slot_id: str) -> list[Task]:
        """Remove a slot with its calls.

        Returns:
            The tasks of the calls; empty for an unknown slot.
        """
        queue = self._queues.pop(slot_id, None)
        calls = list(queue.calls.values()) if queue else []
        for call in calls:
            self._slot_of.pop(call.task.key, None)
        return [call.task for call in calls]

    def under_way(self) -> dict[str, float]:
        """Return the seconds so far of each slot's present call.

        Calls of a serial executor block the driver, so none is under way when the driver asks.

        Returns:
            Seconds by task key, as if each slot were alone on its device.
        """
        queues = () if self._serial else self._queues.values()
        return {key: queue.alone for queue in queues for key in islice(queue.calls, 1)}

    def of_slot(self, slot_id: str) -> tuple[str, ...]:
        """Return a slot's calls, in their order.

        Returns:
            Task keys, the call under way first; empty for an unknown slot.
        """
        return tuple(self._queues[slot_id].calls) if slot_id in self._queues else ()

    def late(self, now: float, slots: Iterable[Slot]) -> list[InFlightCall]:
        """Find the calls past their deadline.

        The deadline of a call is ``DEADLINE_FACTOR`` times the seconds of similar calls, or
        ``FIRST_DEADLINE`` without any, and at least the least deadline.

        Args:
            now: Time in seconds.
            slots: The slots that are up.

        Returns:
            The calls, with their seconds and deadlines.
        """
        found = []
        types = {slot.slot_id: slot.type for slot in slots}
        for slot_id, queue in self._queues.items():
            call = next(iter(queue.calls.values()), None)
            if call is None or now - queue.since <= self._least_deadline:
                continue
            call.seconds = now - queue.since
            call.deadline = self._deadline(call.task, types.get(slot_id))
            if call.seconds > call.deadline:
                found.append(call)
        return found

    def slots(self, slots: Slots, names: dict[str, str], now: float) -> tuple[SlotStatus, ...]:
        """Return the state of every slot.

        Args:
            slots: The slots that are up.
            names: Names of models in their specs, by model key; other keys are shown themselves.
            now: Time in seconds, on the clock of ``begin``.

        Returns:
            A status per slot, in the order of ``slots``; of an idle slot ``task`` is None and
            ``seconds`` is 0.
        """
        found = []
        for slot in slots:
            queue = self._queues.get(slot.slot_id, _CallQueue({}))
            first = next(iter(queue.calls.values()), None)
            model = slots.model(slot.slot_id)
            found.append(
                SlotStatus(
                    slot_id=slot.slot_id,
                    device=slot.device,
                    model=names.get(model, model) if model else None,
                    loading=slots.is_loading(slot.slot_id),
                    task=_describe(first.task) if first else None,
                    seconds=now - queue.since if first else 0.0,
                    queued=max(0, len(queue.calls) - 1),
                    done=queue.done,
                    rate=queue.rate,
                )
            )
        return tuple(found)

    def _deadline(self, task: Task, device_type: str | None) -> float:
        pace = self.paces.similar(task, device_type)
        if pace is None:
            return max(self._least_deadline, FIRST_DEADLINE)
        return max(self._least_deadline, DEADLINE_FACTOR * pace * task.cost)

    def _learn(self, call: InFlightCall, queue: _CallQueue) -> None:
        if not call.task.cost or call.seconds <= 0:
            return
        self._seconds += call.seconds
        self._cost += call.task.cost
        self.paces.learn(call.task, call.seconds, call.seconds if self._serial else queue.alone)
        rate = call.task.cost / call.seconds
        queue.rate = queue.rate + SMOOTHING * (rate - queue.rate) if queue.rate else rate


def _describe(task: Task) -> str:
    work = task.attack.name if task.attack is not None else "evaluation"
    return f"{work} on shard {task.shard_id[:4]}"
