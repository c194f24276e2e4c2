"""The time left of a driver's tasks, for the terminal, `fleet status` and Grafana."""

import time
from collections.abc import Mapping, Sequence

from segtransfer.experiment.task import Task
from segtransfer.runtime.in_flight import InFlightCalls
from segtransfer.runtime.scheduler import Scheduler, Slot
from segtransfer.runtime.simulator import Begun, SimulationSettings, simulate

MOST_TASKS = 5000  # simulated tasks; of more tasks a sample is simulated
LEAST_PERIOD = 2.0  # least seconds between two simulations
SHARE_OF_TIME = 0.01  # most of the driver's time for simulations, as a share
LEAST_REST = 0.1  # rest of a call past its expected end, as a share of its seconds


class TimeLeft:
    """Estimator of the seconds until all tasks of all clients have ended.

    The scheduler goes through the open tasks on a simulated clock, from the present models and
    calls of the slots on. Calls take the seconds per unit of cost of the calls so far, else the
    seconds that ``plan --calibrate`` stored. There is no estimate before both kinds of open tasks,
    attacks and evaluations, have such a pace.
    """

    def __init__(self, scheduler: Scheduler, calls: InFlightCalls) -> None:
        self._scheduler = scheduler
        self._calls = calls
        self._estimate: float | None = None
        self._at = self._next = 0.0  # when the estimate was made, and when the next is due

    def seconds(self, now: float) -> float | None:
        """Estimate the seconds until all tasks have ended.

        The simulation is repeated after ``LEAST_PERIOD`` seconds at the earliest. Meanwhile the
        last estimate counts down.

        Args:
            now: Time in seconds, on the clock of the calls.

        Returns:
            Seconds, at least 0, or None if unknown yet.
        """
        if now >= self._next:
            begun = time.perf_counter()
            self._estimate, self._at = self._simulated(), now
            spent = time.perf_counter() - begun
            self._next = now + max(LEAST_PERIOD, spent / SHARE_OF_TIME)
        return None if self._estimate is None else max(0.0, self._estimate - (now - self._at))

    def _simulated(self) -> float | None:
        slots = list(self._scheduler.slots)
        tasks = {task.key: task for task in self._scheduler.open_tasks()}
        seconds = self._seconds_of(tasks, slots) if slots else None
        if seconds is None:
            return None
        sample = _sample(tasks)
        made = {task.depends_on for task in sample.values() if task.depends_on} - sample.keys()
        # Attacks already done, which the simulation needs because their evaluations depend on them.
        done = {key: Task(key, None, "", 0.0, 0) for key in made}
        settings = SimulationSettings(
            switch=self._calls.load_seconds(),
            window=self._scheduler.slots.window,
            in_flight_bytes=self._scheduler.in_flight_bytes,
        )
        found = simulate(
            {**done, **sample},
            slots,
            settings,
            stored=done.keys(),
            seconds=seconds,
            switch_cost=self._scheduler.switch_cost,
            begun=[self._begun(slot.slot_id, sample) for slot in slots],
        )
        part = sum(seconds[key] for key in sample) / (sum(seconds.values()) or 1.0)
        return found.makespan / part if part else 0.0

    def _begun(self, slot_id: str, sample: Mapping[str, Task]) -> Begun:
        model = self._scheduler.slots.hosted_model(slot_id)
        return Begun(slot_id, model, tuple(k for k in self._calls.of_slot(slot_id) if k in sample))

    def _seconds_of(
        self, tasks: Mapping[str, Task], slots: Sequence[Slot]
    ) -> dict[str, float] | None:
        """Return the seconds left of each task on a slot alone on its device.

        None if a pace is unknown.
        """
        types = {slot.type for slot in slots}
        found = self._calls.paces.seconds(list(tasks.values()), types)
        if found is None:
            return None
        seconds = dict(zip(tasks, found, strict=True))
        for key, spent in self._calls.under_way().items():
            if key in seconds:
                seconds[key] = max(seconds[key] - spent, LEAST_REST * seconds[key])
        return seconds


def _sample(tasks: dict[str, Task]) -> dict[str, Task]:
    """Return at most about ``MOST_TASKS`` tasks: evenly spaced attacks with their evaluations."""
    part = -(-len(tasks) // MOST_TASKS)
    numbers: dict[str, int] = {}
    for key, task in tasks.items():
        numbers.setdefault(task.depends_on or key, len(numbers))
    return {k: task for k, task in tasks.items() if numbers[task.depends_on or k] % part == 0}
