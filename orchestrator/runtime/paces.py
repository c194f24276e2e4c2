"""Paces of models: seconds per unit of a task's cost, measured or estimated."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from segtransfer.experiment.plan import attack_cost
from segtransfer.experiment.task import Task
from segtransfer.store import Store

MEMORY = 0.9  # weight of earlier calls against the latest call
FIT_ROUNDS = 10  # iterations of the fit of factors
ANY_ATTACK = "*"  # stands for every attack in the paces of `plan --calibrate`
ANY_SIZE = 0
MOST_RECALLED = 64  # rows, because a row of a bucket takes about 30 ms to read

# Calls of equal pace: model, attack's name (None for an evaluation), number of images.
Work = tuple[str | None, str | None, int]


@dataclass(slots=True)
class _Measured:
    """Calls that ended, the latest of which weighs most.

    Attributes:
        seconds: Seconds of the calls.
        alone: Seconds of the calls, had their slots been alone on their devices.
        cost: Cost of the calls.
    """

    seconds: float = 0.0
    alone: float = 0.0
    cost: float = 0.0

    @property
    def pace(self) -> float:
        """Seconds per unit of cost, alone on the device."""
        return self.alone / self.cost


class Paces:
    """Seconds per unit of cost, by work: measured on calls, else expected, else estimated.

    The unit of cost is an image forward.
    """

    def __init__(self) -> None:
        self._measured: dict[Work, _Measured] = {}
        self._expected: dict[tuple[str, str, str], float] = {}
        self._recalled: dict[Work, float] = {}
        self._units: dict[str, float] = {}  # attack -> cost per image

    def expect(self, paces: Mapping[tuple[str, str, str], float]) -> None:
        """Use stored paces until similar calls have ended.

        Args:
            paces: Seconds per unit of cost, by model, kind of task, and "cpu" or "cuda", as `plan
                --calibrate` measured.
        """
        self._expected.update(paces)

    def recall(self, store: Store, tasks: Sequence[Task]) -> None:
        """Use the seconds in the rows of stored tasks until similar calls have ended.

        At most about ``MOST_RECALLED`` rows are read.

        Args:
            store: The store.
            tasks: Stored tasks, of which the last per work is read, as first calls are slow.
        """
        last = [*{self._work(task): task for task in tasks if task.cost}.items()]
        every = -(-len(last) // MOST_RECALLED) or 1  # evenly spaced, for every kind of task
        for work, task in last[::every]:
            row = store.row(task.key)
            seconds = row.report.get("cost", {}).get("seconds", 0.0) if row is not None else 0.0
            if seconds > 0:
                self._recalled[work] = seconds / task.cost

    def learn(self, task: Task, seconds: float, alone: float) -> None:
        """Record a call that ended.

        Args:
            task: The task of the call.
            seconds: Seconds of the call.
            alone: Seconds of the call, had its slot been alone on its device.
        """
        measured = self._measured.setdefault(self._work(task), _Measured())
        measured.seconds = MEMORY * measured.seconds + seconds
        measured.alone = MEMORY * measured.alone + alone
        measured.cost = MEMORY * measured.cost + task.cost

    def similar(self, task: Task, device_type: str | None) -> float | None:
        """Return the pace of the model's calls of the task's kind.

        Args:
            task: The task.
            device_type: "cpu" or "cuda"; None if unknown.

        Returns:
            Seconds per unit of cost, or None if unknown.
        """
        evaluates = task.attack is None
        found = [
            measured
            for (model, name, _), measured in self._measured.items()
            if model == task.model and (name is None) == evaluates
        ]
        if found:
            return sum(m.seconds for m in found) / sum(m.cost for m in found)
        if task.model is None or device_type is None:
            return None
        return self._expected.get((task.model, task.kind, device_type))

    def seconds(self, tasks: Sequence[Task], device_types: Set[str]) -> list[float] | None:
        """Return the seconds of each task on a slot without neighbours on its device.

        An unknown pace is the product of a factor of the model, a factor of the attack or of
        evaluations, and a factor of the number of images, which are fitted to the known paces.

        Args:
            tasks: The tasks.
            device_types: Types of the slots' devices, "cpu" or "cuda".

        Returns:
            Seconds. None if the kind of a task, attack or evaluation, has no known pace yet.
        """
        known = {work: cell.pace for work, cell in self._measured.items() if cell.alone > 0}
        # Stored calls may have run on another device, and their seconds are those inside a model.
        both = known.keys() & self._recalled.keys()
        scale = fmean(known[work] / self._recalled[work] for work in both) if both else 1.0
        known = {work: scale * pace for work, pace in self._recalled.items()} | known
        seen = {(model, name is None) for model, name, _ in known}
        for (expected, kind, device), stored in self._expected.items():
            evaluates = kind == "evaluate"
            if device in device_types and (expected, evaluates) not in seen:
                known[expected, None if evaluates else ANY_ATTACK, ANY_SIZE] = stored
        models, names, sizes = _fitted(known)
        attacks = [factor for name, factor in names.items() if name is not None]
        found = []
        for task in tasks:
            model, name, size = work = self._work(task)
            pace = known.get(work) if task.cost else 0.0
            if pace is None:
                factor = names.get(name, fmean(attacks) if name and attacks else None)
                if factor is None:
                    return None
                pace = factor * models.get(model, 1.0) * sizes.get(size, 1.0)
            found.append(pace * task.cost)
        return found

    def _work(self, task: Task) -> Work:
        if task.attack is None:
            return task.model, None, round(task.cost)
        name = task.attack.name
        if name not in self._units:
            self._units[name] = attack_cost(task.attack)
        unit = self._units[name]
        return task.model, name, round(task.cost / unit) if unit else ANY_SIZE


def _fitted(
    known: Mapping[Work, float],
) -> tuple[dict[str | None, float], dict[str | None, float], dict[int, float]]:
    """Return factors of models, attacks and sizes whose products fit the known paces.

    The factors of models and of sizes have a mean of 1.
    """
    factors: list[dict[Any, float]] = [
        dict.fromkeys((work[axis] for work in known), 1.0) for axis in range(3)
    ]
    for axis in (1, 0, 2) * FIT_ROUNDS:
        ratios: dict[Any, list[float]] = {level: [] for level in factors[axis]}
        for work, pace in known.items():
            others = [factors[other][work[other]] for other in range(3) if other != axis]
            ratios[work[axis]].append(pace / (others[0] * others[1]))
        factors[axis].update({level: fmean(found) for level, found in ratios.items()})
        if axis != 1 and known:
            mean = fmean(factors[axis].values())
            factors[axis].update({level: f / mean for level, f in factors[axis].items()})
    models, names, sizes = factors
    return models, names, sizes
