"""The scheduler on a clock: what a fleet would make of an experiment, before anything starts.

The decisions are the scheduler's own. Calls take the seconds that their tasks cost, no array moves,
and slots start, load models, share devices and die as ``Conditions`` say.
"""

import heapq
import random
from array import array
from collections import deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from segtransfer.experiment.task import Task
from segtransfer.runtime.scheduler import Host, Scheduler, Slot

CLIENT = "plan"
BINS = 40  # of the curve of utilisation over time


@dataclass(frozen=True)
class Conditions:
    """What time goes to beside the calls themselves, in seconds, and what the driver allows.

    ``startup`` until a slot is up; ``loading`` a model, by its name (``switch`` for the others);
    ``call`` is added to every call. A slot dies ``deaths_per_hour`` of the time, at random, and is
    back ``restart`` later, empty. The rest is as in ``Scheduler``.
    """

    startup: float = 0.0
    switch: float = 0.0
    loading: Mapping[str, float] = field(default_factory=dict)
    call: float = 0.0
    deaths_per_hour: float = 0.0
    restart: float = 0.0
    window: int = 2
    attempts: int = 4
    in_flight_bytes: int = 2**62
    seed: int = 0

    def load_seconds(self, model: str) -> float:
        return self.loading.get(model, self.switch)


@dataclass(frozen=True)
class Simulation:
    """What came of it, in seconds of the fleet's clock.

    ``capacity`` is how many calls the devices can serve at full speed. ``busy`` is what each slot
    was served in calls, ``lost`` how much of it died with its slot. ``curve`` is the share of the
    capacity that was in calls, in equal parts of the makespan. ``moved`` are bytes of AEs that
    reached a device other than that where they were made, each device once.
    """

    makespan: float
    capacity: float
    busy: Mapping[str, float]
    curve: tuple[float, ...]
    loads: int
    loading: float
    deaths: int
    calls: int
    calls_lost: int
    lost: float
    moved: int

    @property
    def utilisation(self) -> float:
        """Share of the capacity that was in calls whose results count."""
        whole = self.capacity * self.makespan
        return (sum(self.busy.values()) - self.lost) / whole if whole else 0.0


def simulate(
    tasks: Mapping[str, Task],
    slots: Sequence[Slot],
    conditions: Conditions,
    *,
    stored: Set[str] = frozenset(),
) -> Simulation:
    """Run the scheduler on a clock until every task is done; costs of tasks are in seconds.

    Equal arguments give equal answers. Raises RuntimeError where the scheduler leaves tasks undone.
    """
    models = dict.fromkeys(task.model for task in tasks.values() if task.model)
    loads = [conditions.load_seconds(model) for model in models]
    scheduler = Scheduler(
        window=conditions.window,
        attempts=conditions.attempts,
        in_flight_bytes=conditions.in_flight_bytes,
        switch_cost=sum(loads) / len(loads) if loads else 0.0,
    )
    scheduler.submit(CLIENT, tasks, stored)
    fleet = _Fleet(tasks, slots, conditions, scheduler)
    left = sum(key not in stored for key in tasks)
    while fleet.done < left:
        for decision in scheduler.decide(fleet.now):
            if isinstance(decision, Host):
                fleet.load(decision.slot_id, decision.model)
            else:
                fleet.call(decision.slot_id, decision.task)
        if not fleet.can_go_on():
            raise RuntimeError(f"the scheduler left {left - fleet.done} of {left} tasks undone")
        fleet.step()
    return fleet.result()


class _Device:
    """Processor sharing: n slots at work run at full speed up to ``width`` of them, then each at
    width / n. A job ends once ``virtual``, the service that each job got, has grown by its cost."""

    __slots__ = ("calls", "jobs", "serving", "since", "version", "virtual", "width")

    def __init__(self, width: float) -> None:
        self.width = width
        self.jobs: list[tuple[float, int, str]] = []  # heap: virtual end, order, slot
        self.virtual = self.since = self.serving = 0.0
        self.calls = self.version = 0

    def rate(self) -> float:
        return min(1.0, self.width / len(self.jobs)) if self.jobs else 0.0

    def advance(self, now: float) -> None:
        self.virtual += (now - self.since) * self.rate()
        self.since = now
        if not self.jobs:
            self.virtual = 0.0  # else its digits would go to history


class _Place:
    """A slot: the job it is at (a task, or the name of a model that it loads), and its queue."""

    __slots__ = ("device", "end", "job", "life", "queue", "served", "slot", "spent")

    def __init__(self, slot: Slot, device: _Device) -> None:
        self.slot, self.device = slot, device
        self.job: Task | str | None = None
        self.queue: deque[Task] = deque()
        self.life = 0  # how often it came up
        self.served = self.spent = self.end = 0.0


_Kind = Literal["up", "death", "job"]


class _Fleet:
    """Slots, devices and the heap of what happens next."""

    def __init__(
        self,
        tasks: Mapping[str, Task],
        slots: Sequence[Slot],
        conditions: Conditions,
        scheduler: Scheduler,
    ) -> None:
        self.now = 0.0
        self.done = 0
        self._tasks, self._conditions, self._scheduler = tasks, conditions, scheduler
        self._random = random.Random(conditions.seed)
        self._devices: dict[str, _Device] = {}
        self._places: dict[str, _Place] = {}
        self._capacity = 0.0
        self._heap: list[tuple[float, int, _Kind, str, int]] = []
        self._order = 0
        self._working = 0  # jobs under way
        self._away = 0  # slots that will come up
        self._rate = self._served = 0.0  # of calls, over all devices
        self._times, self._serves = array("d", [0.0]), array("d", [0.0])
        self._where: dict[str, set[str]] = {}  # attack key -> devices that have its AEs
        self._loads = self._deaths = self._calls = self._calls_lost = self._moved = 0
        self._loading = self._lost = 0.0
        count: dict[str, int] = {}
        for slot in slots:
            device = self._devices.setdefault(slot.device, _Device(slot.width))
            self._places[slot.slot_id] = _Place(slot, device)
            count[slot.device] = count.get(slot.device, 0) + 1
            self._away += 1
            self._push(conditions.startup, "up", slot.slot_id, 0)
        self._capacity = sum(min(self._devices[d].width, n) for d, n in count.items())

    def can_go_on(self) -> bool:
        return self._working > 0 or self._away > 0

    def load(self, slot_id: str, model: str) -> None:
        self._begin(self._places[slot_id], model, self._conditions.load_seconds(model))

    def call(self, slot_id: str, task: Task) -> None:
        place = self._places[slot_id]
        if place.job is None:
            self._begin(place, task, task.cost + self._conditions.call)
        else:
            place.queue.append(task)

    def step(self) -> None:
        """Go on to the next moment at which something happens, and let it all happen."""
        moment = self._heap[0][0]
        self._served += self._rate * (moment - self.now)
        self.now = moment
        self._times.append(moment)
        self._serves.append(self._served)
        while self._heap and self._heap[0][0] <= moment:
            _, _, kind, name, number = heapq.heappop(self._heap)
            if kind == "up":
                self._come_up(self._places[name])
            elif kind == "death" and self._places[name].life == number:
                self._die(self._places[name])
            elif kind == "job" and self._devices[name].version == number:
                self._end_jobs(self._devices[name])

    def result(self) -> Simulation:
        edges = np.linspace(0, self.now, BINS + 1)
        served = np.interp(edges, np.array(self._times), np.array(self._serves))
        whole = self._capacity * self.now / BINS
        curve = np.diff(served) / whole if whole else np.zeros(BINS)
        return Simulation(
            makespan=self.now,
            capacity=self._capacity,
            busy={slot_id: place.served for slot_id, place in self._places.items()},
            curve=tuple(curve.tolist()),
            loads=self._loads,
            loading=self._loading,
            deaths=self._deaths,
            calls=self._calls,
            calls_lost=self._calls_lost,
            lost=self._lost,
            moved=self._moved,
        )

    def _begin(self, place: _Place, job: Task | str, cost: float) -> None:
        device = place.device
        device.advance(self.now)
        place.job, place.spent, place.end = job, cost, device.virtual + cost
        self._order += 1
        heapq.heappush(device.jobs, (place.end, self._order, place.slot.slot_id))
        self._working += 1
        if isinstance(job, Task):
            device.calls += 1
            if job.depends_on is not None:
                self._move(job.depends_on, place.slot.device)
        self._changed(place.slot.device, device)

    def _move(self, attack: str, device: str) -> None:
        have = self._where.setdefault(attack, set())
        if device not in have:
            have.add(device)
            self._moved += self._tasks[attack].nbytes

    def _end_jobs(self, device: _Device) -> None:
        device.advance(self.now)
        device.virtual = max(device.virtual, device.jobs[0][0])  # whatever rounding made of it
        ended: list[_Place] = []
        while device.jobs and device.jobs[0][0] <= device.virtual:
            place = self._places[heapq.heappop(device.jobs)[2]]
            self._working -= 1
            self._end(place)
            ended.append(place)
        for place in ended:
            if place.queue:
                task = place.queue.popleft()
                self._begin(place, task, task.cost + self._conditions.call)
        self._changed(ended[0].slot.device, device)

    def _end(self, place: _Place) -> None:
        job, place.job = place.job, None
        if isinstance(job, Task):
            place.device.calls -= 1
            place.served += place.spent
            self.done += 1
            self._calls += 1
            if job.attack is not None:
                self._where[job.key] = {place.slot.device}
            self._scheduler.done(job.key)
        else:
            self._loads += 1
            self._loading += place.spent
            self._scheduler.hosted(place.slot.slot_id, str(job))

    def _come_up(self, place: _Place) -> None:
        self._away -= 1
        place.life += 1
        self._scheduler.add_slot(place.slot)
        if self._conditions.deaths_per_hour:
            wait = self._random.expovariate(self._conditions.deaths_per_hour / 3600)
            self._push(self.now + wait, "death", place.slot.slot_id, place.life)

    def _die(self, place: _Place) -> None:
        """A slot's worker is gone, with its model, the call under way and the queue."""
        device = place.device
        device.advance(self.now)
        if place.job is not None:
            device.jobs = [job for job in device.jobs if job[2] != place.slot.slot_id]
            heapq.heapify(device.jobs)
            self._working -= 1
            if isinstance(place.job, Task):
                device.calls -= 1
                spent = place.spent - max(0.0, place.end - device.virtual)
                place.served += spent
                self._lost += spent
                self._calls_lost += 1
            self._changed(place.slot.device, device)
        place.job = None
        place.queue.clear()
        self._deaths += 1
        self._scheduler.remove_slot(place.slot.slot_id)
        self._away += 1
        self._push(self.now + self._conditions.restart, "up", place.slot.slot_id, 0)

    def _changed(self, name: str, device: _Device) -> None:
        """A device has other jobs than before: its next end and what it serves are others too."""
        rate = device.rate()
        self._rate += rate * device.calls - device.serving
        device.serving = rate * device.calls
        device.version += 1
        if device.jobs:
            wait = max(0.0, device.jobs[0][0] - device.virtual) / rate
            self._push(self.now + wait, "job", name, device.version)

    def _push(self, moment: float, kind: _Kind, name: str, number: int) -> None:
        self._order += 1
        heapq.heappush(self._heap, (moment, self._order, kind, name, number))
