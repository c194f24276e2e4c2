"""The time left, at every moment of simulated runs whose true end is known."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from segtransfer.experiment.task import Task
from segtransfer.runtime import simulator
from segtransfer.runtime.in_flight import InFlightCalls
from segtransfer.runtime.paces import Paces
from segtransfer.runtime.scheduler import Decision, Host, Scheduler, Slot
from segtransfer.runtime.simulator import SimulationSettings, simulate
from segtransfer.runtime.time_left import TimeLeft
from segtransfer.tasks.attacks.spec import AttackSpec

SHARD: Any = None
FIRST_CALL = 1.1  # over later calls
CALL_IMAGES = 2.0  # images whose seconds equal those that a call takes however few it has
THREE, EIGHT = {"a": 0.02, "b": 0.05, "c": 0.2}, {f"m{i}": 0.02 * 2 ** (i / 2) for i in range(8)}
STORE: Any = SimpleNamespace(
    row=lambda key: SimpleNamespace(report={"cost": {"seconds": _Watched.plan.seconds[key]}})
)
SETTINGS = SimulationSettings(startup=8.0, switch=2.0, call=0.02)


@dataclass
class MadePlan:
    """Tasks with costs in forwards, and the seconds that they really take."""

    tasks: dict[str, Task] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def made(
    models: Mapping[str, float], shards: int, sources: Sequence[str] = (), images: int = 8
) -> MadePlan:
    """A plan of two attacks on sources (all models by default) of uneven seconds per forward."""
    plan, chance, warm = MadePlan(), random.Random(0), set()

    def add(task: Task, images: int, slowness: float) -> None:
        name = task.attack.name if task.attack else None
        pace = models[str(task.model)] * slowness * chance.lognormvariate(0, 0.1)
        first = 1.0 if (task.model, name) in warm else FIRST_CALL
        warm.add((task.model, name))
        plan.tasks[task.key] = task
        plan.seconds[task.key] = first * pace * task.cost * (1 + CALL_IMAGES / images)

    sizes = [images - (number % 3) * (images // 3) for number in range(shards)]
    for number, size in enumerate(sizes):
        for model in models:
            add(Task(f"clean-{model}-{number}", model, "shard", float(size), 0), size, 1.0)
    for name, steps, slowness in (("pgd", 10, 1.0), ("ds", 20, 1.3)):
        attack = AttackSpec.model_validate({"preset": "pgd", "name": name, "steps": steps})
        for source in sources or models:
            for number, size in enumerate(sizes):
                key = f"{name}-{source}-{number}"
                cost = steps * 2.5 * size
                add(Task(key, source, "shard", cost, 2**20, attack=attack), size, slowness)
                for target in models:
                    score = Task(f"{key}-{target}", target, "shard", float(size), 0, depends_on=key)
                    add(score, size, 1.0)
    return plan


class _Fleet(simulator._SimulatedFleet):
    """The fleet of the run, whose clock is that of the estimates."""

    current: "_Fleet"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        _Fleet.current = self


class _Watched(Scheduler):
    """A scheduler that keeps calls as the driver does, and asks for the time left."""

    plan: MadePlan
    seen: list[tuple[float, float | None]]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.switch_cost = 100.0
        self.calls = InFlightCalls(1.0)
        self.left = TimeLeft(self, self.calls)
        self.loads: dict[str, float] = {}

    def submit(self, client: str, tasks: Mapping[str, Task], stored: Any) -> None:
        self.calls.paces.recall(STORE, [t for key, t in tasks.items() if key in stored])
        super().submit(client, tasks, stored)

    def done(self, key: str) -> None:
        now = _Fleet.current.now
        self.calls.advance(now, self.slots)
        self.calls.end(key, now)
        super().done(key)

    def hosted(self, slot_id: str, model: str) -> None:
        self.calls.advance(_Fleet.current.now, self.slots)
        self.calls.loaded(_Fleet.current.now - self.loads[slot_id])
        super().hosted(slot_id, model)

    def remove_slot(self, slot_id: str) -> None:
        self.calls.drop_slot(slot_id)
        super().remove_slot(slot_id)

    def decide(self, now: float) -> list[Decision]:
        self.calls.advance(now, self.slots)
        self.switch_cost = self.calls.switch_cost()
        decisions = super().decide(now)
        for decision in decisions:
            if isinstance(decision, Host):
                self.loads[decision.slot_id] = now
            else:
                self.calls.begin(decision.task, SHARD, decision.slot_id, now)
        _Watched.seen.append((now, self.left.seconds(now)))
        return decisions


def replay(
    plan: MadePlan,
    slots: list[Slot],
    monkeypatch: pytest.MonkeyPatch,
    stored: frozenset[str] = frozenset(),
    settings: SimulationSettings = SETTINGS,
) -> tuple[float, list[tuple[float, float | None]]]:
    """Return the seconds of a run, and pairs of seconds since its start and estimated time left."""
    monkeypatch.setattr(_Watched, "plan", plan, raising=False)
    monkeypatch.setattr(_Watched, "seen", [], raising=False)
    # The run gets the watched scheduler; simulations within an estimate get the usual one.
    usual = {name: getattr(simulator, name) for name in ("Scheduler", "_SimulatedFleet")}
    watched = {"Scheduler": _Watched, "_SimulatedFleet": _Fleet}
    estimate = TimeLeft._simulated

    def simulated(self: TimeLeft) -> float | None:
        for name, value in usual.items():
            setattr(simulator, name, value)
        try:
            return estimate(self)
        finally:
            for name, value in watched.items():
                setattr(simulator, name, value)

    monkeypatch.setattr(TimeLeft, "_simulated", simulated)
    total = simulate(plan.tasks, slots, settings, stored=stored, seconds=plan.seconds).makespan
    monkeypatch.setattr("segtransfer.runtime.time_left.LEAST_PERIOD", total / 50)
    monkeypatch.setattr("segtransfer.runtime.time_left.SHARE_OF_TIME", 1.0)
    for name, value in watched.items():
        monkeypatch.setattr(simulator, name, value)
    total = simulate(plan.tasks, slots, settings, stored=stored, seconds=plan.seconds).makespan
    return total, list(_Watched.seen)


def fleet(count: int) -> list[Slot]:
    return [Slot(f"s{i}", f"d{i}") for i in range(count)]


def machine(slots: int, cores: int) -> list[Slot]:
    return [Slot(f"s{i}", "machine", cores) for i in range(slots)]


def first_half(plan: MadePlan) -> frozenset[str]:
    return frozenset(list(plan.tasks)[: len(plan.tasks) // 2])


def every_other(plan: MadePlan) -> frozenset[str]:
    return frozenset(list(plan.tasks)[::2])


RUNS: dict[str, tuple[MadePlan, list[Slot]]] = {
    "even models on one core": (made(dict.fromkeys("abc", 0.05), 8), machine(3, 1)),
    "uneven models on one core": (made(THREE, 8), machine(3, 1)),
    "uneven models on two cores": (made(THREE, 8), machine(3, 2)),
    "eight models take turns on two slots": (made(EIGHT, 16, images=4), fleet(2)),
    "eight models take turns on four slots": (made(EIGHT, 8), fleet(4)),
    "a slot per model": (made(EIGHT, 16, images=4), fleet(8)),
    "replicas on 32 slots": (made(EIGHT, 48, images=4), fleet(32)),
    "replicas of one source": (made(EIGHT, 32, ["m0"]), fleet(8)),
    "replicas of one slow source": (made(EIGHT, 32, ["m7"]), fleet(8)),
}


def check(total: float, seen: list[tuple[float, float | None]]) -> None:
    """Within a quarter of what remains at 15 of 16 moments, and never far off.

    Near the end, a twentieth of the whole run is allowed: the last calls end by chance.
    """
    first = next(now for now, left in seen if left is not None)
    wrong = []
    for percent in range(20, 100, 5):
        now, left = next(moment for moment in seen if moment[0] >= total * percent / 100)
        if now < first <= 0.3 * total:
            continue  # no attack has ended
        assert left is not None
        true = total - now
        if abs(left - true) > max(true / 4, total / 20):
            wrong.append((percent, round(left), round(true)))
    assert len(wrong) <= 1, f"{total:.0f} s: (percent of the time, estimated, true) {wrong}"
    assert all(abs(left - true) < 0.4 * true for _, left, true in wrong), wrong


@pytest.mark.parametrize("run", RUNS)
def test_after_a_fifth_of_the_time_the_estimate_is_within_a_quarter(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, slots = RUNS[run]
    check(*replay(plan, slots, monkeypatch))


@pytest.mark.parametrize("stored", [first_half, every_other])
@pytest.mark.parametrize("run", ["uneven models on two cores", "a slot per model"])
def test_estimate_of_a_resumed_run_covers_missing_tasks(
    run: str, stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, slots = RUNS[run]
    check(*replay(plan, slots, monkeypatch, stored(plan)))


def test_estimate_is_accurate_for_a_run_with_dying_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    deaths = replace(SETTINGS, deaths_per_hour=5.0, restart=20.0)
    check(*replay(made(THREE, 64), fleet(16), monkeypatch, settings=deaths))


def test_there_is_no_estimate_before_an_attack_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, slots = RUNS["uneven models on two cores"]
    _, seen = replay(plan, slots, monkeypatch)
    first = next(now for now, left in seen if left is not None)
    quickest = min(plan.seconds[key] for key, task in plan.tasks.items() if task.attack)
    assert first > SETTINGS.startup + quickest
    assert seen[0][1] is None


# -- paces -----------------------------------------------------------------------------------

PGD, DS = (AttackSpec.model_validate({"preset": "pgd", "name": name}) for name in ("pgd", "ds"))


def evaluation(model: str, images: int = 4) -> Task:
    return Task(f"e-{model}-{images}", model, "shard", float(images), 0)


def attack_on(model: str, attack: AttackSpec = PGD) -> Task:
    return Task(f"{attack.name}-{model}", model, "shard", 100.0, 0, attack=attack)


def test_an_unknown_pace_follows_from_model_attack_and_images() -> None:
    paces = Paces()
    for task, seconds in (
        (evaluation("a"), 4.0),
        (evaluation("b"), 12.0),
        (evaluation("a", 1), 2.0),
        (attack_on("a"), 200.0),
    ):
        paces.learn(task, seconds, seconds)
    asked = [attack_on("b"), attack_on("b", DS), evaluation("b", 1)]
    found = paces.seconds(asked, {"cpu"})
    assert found == pytest.approx([600.0, 600.0, 6.0], rel=0.05)


def test_stored_paces_give_an_estimate_before_any_call() -> None:
    paces = Paces()
    assert paces.seconds([attack_on("a")], {"cpu"}) is None
    paces.expect({("a", "attack", "cpu"): 0.5, ("a", "attack", "cuda"): 0.1})
    assert paces.seconds([attack_on("a")], {"cuda"}) == pytest.approx([10.0])
    assert paces.seconds([evaluation("a")], {"cuda"}) is None


def test_rows_of_stored_tasks_give_an_estimate_scaled_by_calls_on_this_device() -> None:
    rows = {"pgd-a": 10.0, "pgd-b": 30.0}
    store: Any = SimpleNamespace(
        row=lambda key: SimpleNamespace(report={"cost": {"seconds": rows[key]}})
    )
    paces = Paces()
    paces.recall(store, [attack_on("a"), attack_on("b")])
    assert paces.seconds([attack_on("b")], {"cpu"}) == pytest.approx([30.0])
    paces.learn(attack_on("a"), 1.0, 1.0)
    assert paces.seconds([attack_on("b")], {"cpu"}) == pytest.approx([3.0])


def test_recalled_rows_are_spread_over_kinds_of_tasks_however_many_models() -> None:
    store: Any = SimpleNamespace(row=lambda _: SimpleNamespace(report={"cost": {"seconds": 1.0}}))
    models = [f"m{number}" for number in range(100)]
    paces = Paces()
    paces.recall(store, [evaluation(m) for m in models] + [attack_on(m) for m in models])
    assert paces.seconds([evaluation("m0"), attack_on("m99")], {"cpu"}) == pytest.approx([1, 1])
