"""Small tasks, schedulers, and a fleet that carries out what a scheduler decides."""

import heapq
from collections.abc import Callable, Iterable

from segtransfer.experiment.task import Task
from segtransfer.runtime.scheduler import Decision, Host, Scheduler, Slot, Start
from segtransfer.tasks.attacks.spec import AttackSpec

PGD = AttackSpec.model_validate("pgd")


def attack(key: str, model: str | None = "m", cost: float = 10.0, nbytes: int = 10) -> Task:
    return Task(key, model, "shard", cost, nbytes, attack=PGD)


def score(key: str, model: str = "m", of: str | None = None, cost: float = 1.0) -> Task:
    return Task(key, model, "shard", cost, 0, depends_on=of)


def by_key(*tasks: Task) -> dict[str, Task]:
    return {task.key: task for task in tasks}


def scheduler(
    slots: dict[str, str | None] | None = None,
    *,
    window: int = 2,
    attempts: int = 3,
    budget: int = 10**6,
    switch_cost: float = 100.0,
) -> Scheduler:
    """A scheduler whose slots (id -> model), each a device of its own, host their models."""
    made = Scheduler(
        window=window, attempts=attempts, in_flight_bytes=budget, switch_cost=switch_cost
    )
    for slot_id, model in (slots or {}).items():
        add_slot(made, slot_id, model)
    return made


def add_slot(s: Scheduler, slot_id: str, model: str | None = None) -> None:
    """A slot joins that hosts a model, as if it had been asked to."""
    s.add_slot(Slot(slot_id, f"device of {slot_id}"))
    if model is not None:
        s.slots.load(slot_id, model)
        s.hosted(slot_id, model)


def starts(decisions: Iterable[Decision]) -> list[tuple[str, str]]:
    return [(d.task.key, d.slot_id) for d in decisions if isinstance(d, Start)]


def keys(decisions: Iterable[Decision]) -> list[str]:
    return [key for key, _ in starts(decisions)]


def hosts(decisions: Iterable[Decision]) -> list[tuple[str, str]]:
    return [(d.slot_id, d.model) for d in decisions if isinstance(d, Host)]


class Fleet:
    """Slots that work through their calls in order, on a clock; nothing ever fails."""

    def __init__(self, s: Scheduler, load_time: float = 0.0) -> None:
        self.scheduler = s
        self.load_time = load_time
        self.now = 0.0
        self.done: list[str] = []
        self.loads: list[tuple[str, str]] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._busy_until: dict[str, float] = {}

    def run(self, until: Callable[[], bool] = lambda: False, limit: int = 10**5) -> None:
        """Go on until nothing happens any more, or ``until`` says so."""
        for _ in range(limit):
            if until():
                return
            for decision in self.scheduler.decide(self.now):
                self._carry_out(decision)
            if not self._events:
                return
            self.now, _, happen = heapq.heappop(self._events)
            happen()
        raise AssertionError(f"still at work after {limit} events")

    def _carry_out(self, decision: Decision) -> None:
        slot_id = decision.slot_id
        takes = self.load_time if isinstance(decision, Host) else decision.task.cost
        end = max(self.now, self._busy_until.get(slot_id, 0.0)) + takes
        self._busy_until[slot_id] = end
        self._order += 1
        if isinstance(decision, Host):
            model = decision.model
            self.loads.append((slot_id, model))
            heapq.heappush(
                self._events,
                (end, self._order, lambda: self.scheduler.hosted(slot_id, model)),
            )
        else:
            key = decision.task.key
            heapq.heappush(self._events, (end, self._order, lambda: self._finish(key)))

    def _finish(self, key: str) -> None:
        self.done.append(key)
        self.scheduler.done(key)
