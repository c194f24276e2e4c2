"""Calls under way: on which slot, for how long, and how long they may take."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from segtransfer.experiment.task import Task
from segtransfer.runtime.scheduler import SWITCH_COST
from segtransfer.runtime.scheduler.slots import Slot, Slots
from segtransfer.runtime.status import SlotStatus
from segtransfer.tasks.data.shards import Shard

# A call may take that many times the seconds that others like it took, or that were measured.
PATIENCE = 20.0
# ... and this long where there is none to compare it with.
FIRST_DEADLINE = 3600.0  # seconds
# A change of models takes this at the least, in image forwards: the first calls after it are slow.
LEAST_SWITCH_COST = 10.0
SMOOTHING = 0.3  # of the mean of seconds a unit of cost: the weight of the latest call


@dataclass
class InFlightCall:
    """A task on a slot; ``seconds`` since its turn came, which ``deadline`` bounds."""

    task: Task
    shard: Shard
    slot_id: str
    seconds: float = 0.0
    deadline: float = 0.0


@dataclass
class _Lane:
    """A slot's calls, in the order in which it works through them."""

    calls: dict[str, InFlightCall]
    since: float = 0.0  # when the turn of the first came
    done: int = 0
    rate: float = 0.0  # cost a second of the last calls


class InFlightCalls:
    """The calls of all slots. A slot works on one at a time; the others wait behind it."""

    def __init__(self, least_deadline: float) -> None:
        self._least_deadline = least_deadline
        self._slot_of: dict[str, str] = {}
        self._lanes: dict[str, _Lane] = {}
        self._pace: dict[tuple[str | None, str], float] = {}  # seconds a unit of cost
        self._expected: dict[tuple[str, str, str], float] = {}
        self._loads, self._load_seconds = 0, 0.0
        self._seconds = self._cost = 0.0  # of all calls that are over

    def expect(self, paces: Mapping[tuple[str, str, str], float]) -> None:
        """What ``plan --calibrate`` measured, seconds a unit of cost by model, kind of task, and
        "cpu" or "cuda": a measure for calls until some like them are over."""
        self._expected.update(paces)

    def loaded(self, seconds: float) -> None:
        """A slot took so long to load a model."""
        self._loads += 1
        self._load_seconds += seconds

    def switch_cost(self) -> float:
        """What a change of models takes here, in the unit of the tasks' costs: the mean load, over
        what a unit took in the calls so far; what is assumed until there are both."""
        if not self._loads or not self._cost:
            return SWITCH_COST
        load = self._load_seconds / self._loads
        return max(LEAST_SWITCH_COST, load * self._cost / self._seconds)

    def begin(self, task: Task, shard: Shard, slot_id: str, now: float) -> None:
        # An earlier call of this task was given up without the slot's knowing.
        old = self._slot_of.get(task.key)
        if old is not None:
            self._lanes[old].calls.pop(task.key, None)
        lane = self._lanes.setdefault(slot_id, _Lane({}))
        if not lane.calls:
            lane.since = now
        lane.calls[task.key] = InFlightCall(task, shard, slot_id)
        self._slot_of[task.key] = slot_id

    def end(self, key: str, now: float, *, failed: bool = False) -> InFlightCall | None:
        """Take out a call that is over; None where it is not known any more."""
        slot_id = self._slot_of.pop(key, None)
        if slot_id is None:
            return None
        lane = self._lanes[slot_id]
        call = lane.calls.pop(key)
        call.seconds, lane.since = now - lane.since, now
        if not failed:
            lane.done += 1
            self._learn(call, lane)
        return call

    def drop_slot(self, slot_id: str) -> list[Task]:
        """Forget a slot and its calls; returns their tasks."""
        lane = self._lanes.pop(slot_id, None)
        calls = list(lane.calls.values()) if lane else []
        for call in calls:
            self._slot_of.pop(call.task.key, None)
        return [call.task for call in calls]

    def late(self, now: float, slots: Iterable[Slot]) -> list[InFlightCall]:
        """Calls past their deadline; ``slots`` are those that are up."""
        found = []
        types = {slot.slot_id: slot.type for slot in slots}
        for slot_id, lane in self._lanes.items():
            call = next(iter(lane.calls.values()), None)
            if call is None or now - lane.since <= self._least_deadline:
                continue
            call.seconds = now - lane.since
            call.deadline = self._deadline(call.task, types.get(slot_id))
            if call.seconds > call.deadline:
                found.append(call)
        return found

    def slots(self, slots: Slots, names: dict[str, str], now: float) -> tuple[SlotStatus, ...]:
        """What each slot is doing; ``names`` of the models."""
        found = []
        for slot in slots:
            lane = self._lanes.get(slot.slot_id, _Lane({}))
            first = next(iter(lane.calls.values()), None)
            model = slots.model(slot.slot_id)
            found.append(
                SlotStatus(
                    slot_id=slot.slot_id,
                    device=slot.device,
                    model=names.get(model, model) if model else None,
                    loading=slots.is_loading(slot.slot_id),
                    task=_describe(first.task) if first else None,
                    seconds=now - lane.since if first else 0.0,
                    queued=max(0, len(lane.calls) - 1),
                    done=lane.done,
                    rate=lane.rate,
                )
            )
        return tuple(found)

    def _deadline(self, task: Task, device_type: str | None) -> float:
        pace = self._pace.get((task.model, task.kind))
        if pace is None and task.model is not None and device_type is not None:
            pace = self._expected.get((task.model, task.kind, device_type))
        if pace is None:
            return max(self._least_deadline, FIRST_DEADLINE)
        return max(self._least_deadline, PATIENCE * pace * task.cost)

    def _learn(self, call: InFlightCall, lane: _Lane) -> None:
        if not call.task.cost or call.seconds <= 0:
            return
        self._seconds += call.seconds
        self._cost += call.task.cost
        pace, kind = call.seconds / call.task.cost, (call.task.model, call.task.kind)
        before = self._pace.get(kind, pace)
        self._pace[kind] = before + SMOOTHING * (pace - before)
        rate = 1 / pace
        lane.rate = lane.rate + SMOOTHING * (rate - lane.rate) if lane.rate else rate


def _describe(task: Task) -> str:
    what = task.attack.name if task.attack is not None else "scores"
    return f"{what} on shard {task.shard_id[:4]}"
