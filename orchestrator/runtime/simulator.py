"""The scheduler on a simulated clock: the course of tasks on a fleet, before or while they run.

The decisions are the scheduler's own. Calls take the seconds of their tasks and no array moves.
Slots start, load models, share devices and die as the ``SimulationSettings`` say.
"""

import heapq
import random
from array import array
from collections import deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

import numpy as np

from segtransfer.experiment.task import Task
from segtransfer.runtime.scheduler import Host, Scheduler, Slot

CLIENT = "plan"
BINS = 40  # points of the utilisation curve


@dataclass(frozen=True)
class SimulationSettings:
    """Overheads of a fleet in seconds, and the limits of its driver.

    Attributes:
        startup: Seconds until a slot is up.
        switch: Seconds to load a model without an entry in ``loading``.
        loading: Seconds to load a model, by model key.
        call: Seconds added to every call.
        deaths_per_hour: Rate of each slot's random deaths.
        restart: Seconds until a dead slot is up again, empty.
        window: As in ``Scheduler``.
        attempts: As in ``Scheduler``.
        in_flight_bytes: As in ``Scheduler``.
        seed: Seed of the deaths.
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
        """Return the seconds to load a model.

        Args:
            model: The model's key.
        """
        return self.loading.get(model, self.switch)


@dataclass(frozen=True)
class Begun:
    """A slot at the start of a simulation: the loaded model, and the calls in their order."""

    slot_id: str
    model: str | None
    calls: tuple[str, ...]


@dataclass(frozen=True)
class Simulation:
    """The result of a simulation, in seconds of the simulated clock.

    Attributes:
        makespan: Seconds from the start to the last result.
        capacity: Number of calls served at full speed by all devices together.
        busy: Service of each slot's calls in seconds at full speed, by slot.
        curve: Share of the capacity used by calls, in ``BINS`` equal parts of the makespan.
        loads: Number of loads of a model.
        loading: Seconds of all loads.
        deaths: Number of deaths of a slot.
        calls: Number of finished calls.
        calls_lost: Number of calls lost with their slot.
        lost: Service of the lost calls.
        moved: Bytes of AEs on other devices than the device of the attack, counted once per device.
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
        """Share of the capacity used by finished calls, in [0, 1]."""
        whole = self.capacity * self.makespan
        return (sum(self.busy.values()) - self.lost) / whole if whole else 0.0


def simulate(
    tasks: Mapping[str, Task],
    slots: Sequence[Slot],
    settings: SimulationSettings,
    *,
    stored: Set[str] = frozenset(),
    seconds: Mapping[str, float] | None = None,
    switch_cost: float | None = None,
    begun: Sequence[Begun] = (),
) -> Simulation:
    """Run the scheduler on a simulated clock until every task is done.

    Equal arguments give equal results.

    Args:
        tasks: Tasks by key, with costs in seconds, or in any unit if `seconds` are given.
        slots: The slots of the fleet.
        settings: Overheads and limits.
        stored: Keys of tasks that are done already.
        seconds: Seconds of each task's call; by default the task's cost.
        switch_cost: As in ``Scheduler``, in the unit of the costs; by default the mean seconds of a
            load.
        begun: Slots with their models and calls, as they are from the start.

    Raises:
        RuntimeError: The scheduler left tasks undone.
    """
    if switch_cost is None:
        switch_cost = _mean_load(tasks, settings)
    if seconds is None:
        seconds = {key: task.cost for key, task in tasks.items()}
    scheduler = Scheduler(
        window=settings.window,
        attempts=settings.attempts,
        in_flight_bytes=settings.in_flight_bytes,
        switch_cost=switch_cost,
    )
    scheduler.submit(CLIENT, tasks, stored)
    fleet = _SimulatedFleet(tasks, seconds, slots, settings, scheduler, begun)
    left = sum(key not in stored for key in tasks)
    while fleet.done < left:
        for decision in scheduler.decide(fleet.now):
            if isinstance(decision, Host):
                fleet.load(decision.slot_id, decision.model)
            else:
                fleet.call(decision.slot_id, decision.task)
        if not fleet.is_active():
            raise RuntimeError(f"the scheduler left {left - fleet.done} of {left} tasks undone")
        fleet.step()
    return fleet.result()


def _mean_load(tasks: Mapping[str, Task], settings: SimulationSettings) -> float:
    """Return the mean seconds to load a model of the tasks."""
    models = dict.fromkeys(task.model for task in tasks.values() if task.model)
    return fmean(map(settings.load_seconds, models)) if models else 0.0


class _Device:
    """A device under processor sharing.

    Each of n busy slots runs at full speed up to n = ``width``, else at width / n. A job
    ends once ``virtual``, the service per job so far, has grown by its cost.
    """

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
            self.virtual = 0.0  # A growing sum would lose precision.


class _SimulatedSlot:
    """A slot with its current job (a task, or the key of a model to load) and its queue."""

    __slots__ = ("device", "end", "job", "life", "queue", "served", "share", "spent")

    def __init__(self, share: Slot, device: _Device) -> None:
        self.share, self.device = share, device
        self.job: Task | str | None = None
        self.queue: deque[Task] = deque()
        self.life = 0  # number of starts
        self.served = self.spent = self.end = 0.0


_EventKind = Literal["up", "death", "job"]


class _SimulatedFleet:
    """Slots, devices and the heap of future events."""

    def __init__(
        self,
        tasks: Mapping[str, Task],
        seconds: Mapping[str, float],
        slots: Sequence[Slot],
        settings: SimulationSettings,
        scheduler: Scheduler,
        begun: Sequence[Begun],
    ) -> None:
        self.now = 0.0
        self._seconds = seconds
        self._begun = {state.slot_id: state for state in begun}
        self.done = 0
        self._tasks, self._settings, self._scheduler = tasks, settings, scheduler
        self._random = random.Random(settings.seed)
        self._devices: dict[str, _Device] = {}
        self._slots: dict[str, _SimulatedSlot] = {}
        self._capacity = 0.0
        self._heap: list[tuple[float, int, _EventKind, str, int]] = []
        self._order = 0
        self._jobs = 0  # jobs under way
        self._down = 0  # slots that will come up
        self._rate = self._served = 0.0  # of calls, over all devices
        self._times, self._served_until = array("d", [0.0]), array("d", [0.0])
        self._devices_with: dict[str, set[str]] = {}  # attack key -> devices with its AEs
        self._loads = self._deaths = self._calls = self._calls_lost = self._moved = 0
        self._loading = self._lost = 0.0
        count: dict[str, int] = {}
        for slot in slots:
            device = self._devices.setdefault(slot.device, _Device(slot.width))
            self._slots[slot.slot_id] = _SimulatedSlot(slot, device)
            count[slot.device] = count.get(slot.device, 0) + 1
            self._down += 1
            self._push(settings.startup, "up", slot.slot_id, 0)
        self._capacity = sum(min(self._devices[d].width, n) for d, n in count.items())

    def is_active(self) -> bool:
        return self._jobs > 0 or self._down > 0

    def load(self, slot_id: str, model: str) -> None:
        self._begin(self._slots[slot_id], model, self._settings.load_seconds(model))

    def call(self, slot_id: str, task: Task) -> None:
        slot = self._slots[slot_id]
        if slot.job is None:
            self._begin(slot, task, self._seconds[task.key] + self._settings.call)
        else:
            slot.queue.append(task)

    def step(self) -> None:
        """Advance the clock to the next event, and handle all events of that time."""
        time = self._heap[0][0]
        self._served += self._rate * (time - self.now)
        self.now = time
        self._times.append(time)
        self._served_until.append(self._served)
        while self._heap and self._heap[0][0] <= time:
            _, _, kind, name, number = heapq.heappop(self._heap)
            if kind == "up":
                self._start_slot(self._slots[name])
            elif kind == "death" and self._slots[name].life == number:
                self._stop_slot(self._slots[name])
            elif kind == "job" and self._devices[name].version == number:
                self._end_jobs(self._devices[name])

    def result(self) -> Simulation:
        edges = np.linspace(0, self.now, BINS + 1)
        served = np.interp(edges, np.array(self._times), np.array(self._served_until))
        whole = self._capacity * self.now / BINS
        curve = np.diff(served) / whole if whole else np.zeros(BINS)
        return Simulation(
            makespan=self.now,
            capacity=self._capacity,
            busy={slot_id: slot.served for slot_id, slot in self._slots.items()},
            curve=tuple(curve.tolist()),
            loads=self._loads,
            loading=self._loading,
            deaths=self._deaths,
            calls=self._calls,
            calls_lost=self._calls_lost,
            lost=self._lost,
            moved=self._moved,
        )

    def _begin(self, slot: _SimulatedSlot, job: Task | str, cost: float) -> None:
        device = slot.device
        device.advance(self.now)
        slot.job, slot.spent, slot.end = job, cost, device.virtual + cost
        self._order += 1
        heapq.heappush(device.jobs, (slot.end, self._order, slot.share.slot_id))
        self._jobs += 1
        if isinstance(job, Task):
            device.calls += 1
            if job.depends_on is not None:
                self._move(job.depends_on, slot.share.device)
        self._changed(slot.share.device, device)

    def _move(self, attack: str, device: str) -> None:
        have = self._devices_with.setdefault(attack, set())
        if device not in have:
            have.add(device)
            self._moved += self._tasks[attack].nbytes

    def _end_jobs(self, device: _Device) -> None:
        device.advance(self.now)
        device.virtual = max(device.virtual, device.jobs[0][0])  # despite rounding
        ended: list[_SimulatedSlot] = []
        while device.jobs and device.jobs[0][0] <= device.virtual:
            slot = self._slots[heapq.heappop(device.jobs)[2]]
            self._jobs -= 1
            self._end(slot)
            ended.append(slot)
        for slot in ended:
            if slot.queue:
                task = slot.queue.popleft()
                self._begin(slot, task, self._seconds[task.key] + self._settings.call)
        self._changed(ended[0].share.device, device)

    def _end(self, slot: _SimulatedSlot) -> None:
        job, slot.job = slot.job, None
        if isinstance(job, Task):
            slot.device.calls -= 1
            slot.served += slot.spent
            self.done += 1
            self._calls += 1
            if job.attack is not None:
                self._devices_with[job.key] = {slot.share.device}
            self._scheduler.done(job.key)
        else:
            self._loads += 1
            self._loading += slot.spent
            self._scheduler.hosted(slot.share.slot_id, str(job))

    def _start_slot(self, slot: _SimulatedSlot) -> None:
        self._down -= 1
        slot.life += 1
        slot_id = slot.share.slot_id
        self._scheduler.add_slot(slot.share)
        if begun := self._begun.pop(slot_id, None):
            if begun.model is not None:
                self._scheduler.slots.load(slot_id, begun.model)
                self._scheduler.hosted(slot_id, begun.model)
            for key in begun.calls:
                self._scheduler.start(key, slot_id)
                self.call(slot_id, self._tasks[key])
        if self._settings.deaths_per_hour:
            wait = self._random.expovariate(self._settings.deaths_per_hour / 3600)
            self._push(self.now + wait, "death", slot_id, slot.life)

    def _stop_slot(self, slot: _SimulatedSlot) -> None:
        """End a slot's worker, with its model, the call under way and the queue."""
        device = slot.device
        device.advance(self.now)
        if slot.job is not None:
            device.jobs = [job for job in device.jobs if job[2] != slot.share.slot_id]
            heapq.heapify(device.jobs)
            self._jobs -= 1
            if isinstance(slot.job, Task):
                device.calls -= 1
                spent = slot.spent - max(0.0, slot.end - device.virtual)
                slot.served += spent
                self._lost += spent
                self._calls_lost += 1
            self._changed(slot.share.device, device)
        slot.job = None
        slot.queue.clear()
        self._deaths += 1
        self._scheduler.remove_slot(slot.share.slot_id)
        self._down += 1
        self._push(self.now + self._settings.restart, "up", slot.share.slot_id, 0)

    def _changed(self, name: str, device: _Device) -> None:
        """Update a device's rate of service and its next end, after its jobs have changed."""
        rate = device.rate()
        self._rate += rate * device.calls - device.serving
        device.serving = rate * device.calls
        device.version += 1
        if device.jobs:
            wait = max(0.0, device.jobs[0][0] - device.virtual) / rate
            self._push(self.now + wait, "job", name, device.version)

    def _push(self, time: float, kind: _EventKind, name: str, number: int) -> None:
        self._order += 1
        heapq.heappush(self._heap, (time, self._order, kind, name, number))
