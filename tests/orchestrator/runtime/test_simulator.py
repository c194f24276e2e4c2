"""The scheduler on a clock: makespans in closed form, and that equal seeds give equal answers."""

from collections.abc import Iterable

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from segtransfer.experiment.task import Task
from segtransfer.forecast.forecast import lower_bound, uniform_fleet
from segtransfer.runtime.scheduler import Slot
from segtransfer.runtime.simulator import Simulation, SimulationSettings, simulate
from segtransfer.tasks.attacks.spec import AttackSpec

PGD = AttackSpec.model_validate("pgd")


def make(key: str, model: str | None = "m", cost: float = 10.0, nbytes: int = 0) -> Task:
    return Task(key, model, "shard", cost, nbytes, attack=PGD)


def score(key: str, model: str = "m", of: str | None = None, cost: float = 1.0) -> Task:
    return Task(key, model, "shard", cost, 0, depends_on=of)


def by_key(tasks: Iterable[Task]) -> dict[str, Task]:
    return {task.key: task for task in tasks}


def run(
    tasks: Iterable[Task], slots: list[Slot], stored: Iterable[str] = (), **conditions: object
) -> Simulation:
    return simulate(
        by_key(tasks),
        slots,
        SimulationSettings(**conditions),  # type: ignore[arg-type]
        stored=frozenset(stored),
    )


def shared(count: int, width: int) -> list[Slot]:
    return [Slot(f"s{i}", "machine", width) for i in range(count)]


def test_one_slot_takes_start_up_loading_and_the_sum_of_its_calls() -> None:
    tasks = [score(f"e{i}", cost=3.0) for i in range(7)]
    found = run(tasks, uniform_fleet(1), startup=5.0, switch=2.0, call=0.5)
    assert found.makespan == pytest.approx(5 + 2 + 7 * 3.5)
    assert found.utilisation == pytest.approx(24.5 / 31.5)
    assert (found.loads, found.calls, found.loading) == (1, 7, 2.0)


@pytest.mark.parametrize(("count", "slots"), [(8, 4), (9, 4), (3, 5)])
def test_equal_tasks_on_several_slots_take_whole_rounds(count: int, slots: int) -> None:
    found = run(
        [make(f"a{i}") for i in range(count)], uniform_fleet(slots), startup=1.0, switch=0.1
    )
    assert found.makespan == pytest.approx(1.1 + 10 * -(-count // slots))


def test_one_source_and_many_targets_run_in_parallel() -> None:
    targets = [f"t{i}" for i in range(6)]
    tasks = [make("a"), *(score(f"e{t}", t, of="a", cost=4.0) for t in targets)]
    found = run(tasks, uniform_fleet(7), switch=1.0)
    # The targets are only wanted once there is something to score: they load then.
    assert found.makespan == pytest.approx(1 + 10 + 1 + 4)
    assert found.loads >= 7


def test_models_taking_turns_on_one_slot_pay_for_each_switch() -> None:
    tasks = [score(f"{m}{i}", m, cost=5.0) for m in "abc" for i in range(4)]
    found = run(tasks, uniform_fleet(1), loading={"a": 1.0, "b": 2.0, "c": 3.0})
    assert found.makespan == pytest.approx(1 + 2 + 3 + 12 * 5)
    assert (found.loads, found.loading) == (3, 6.0)


def test_slots_of_one_device_slow_each_other_down() -> None:
    tasks = [score(f"e{i}", f"m{i}", cost=6.0) for i in range(3)]
    found = run(tasks, shared(3, width=2))
    assert found.makespan == pytest.approx(3 * 6 / 2)
    assert found.utilisation == pytest.approx(1.0)


def test_slots_speed_up_when_a_call_on_their_device_ends() -> None:
    tasks = [score("long", "a", cost=6.0), score("short", "b", cost=2.0)]
    found = run(tasks, shared(2, width=1))
    # Both at half speed until the short one has had its 2 s, at 4 s; then the long one alone.
    assert found.makespan == pytest.approx(8.0)
    assert found.busy == pytest.approx({"s0": 6.0, "s1": 2.0})


def test_a_wide_device_serves_its_slots_at_full_speed() -> None:
    tasks = [score(f"e{i}", f"m{i}", cost=6.0) for i in range(3)]
    assert run(tasks, shared(3, width=3)).makespan == pytest.approx(6.0)


def test_the_curve_is_the_share_of_the_capacity_in_calls() -> None:
    tasks = [make("a", cost=30.0), make("b", "n", cost=15.0)]
    found = run(tasks, uniform_fleet(2), startup=20.0, switch=10.0)
    assert found.makespan == pytest.approx(60.0)
    assert found.curve == pytest.approx([0.0] * 20 + [1.0] * 10 + [0.5] * 10)
    assert sum(found.curve) / len(found.curve) == pytest.approx(found.utilisation)


def test_death_of_a_slot_loses_only_the_call_under_way() -> None:
    tasks = [score(f"e{i}", cost=10.0) for i in range(40)]
    conditions = {"switch": 1.0, "deaths_per_hour": 60.0, "restart": 7.0, "startup": 2.0}
    found = run(tasks, uniform_fleet(1), **conditions)
    assert found.deaths >= 2
    assert found.calls == 40
    idle_lost = found.makespan - 2 - 40 * 10 - found.deaths * 7 - found.lost
    # What remains are loads: one at first, one after each death, some of them cut off.
    assert found.loads * 1.0 == pytest.approx(found.loading)
    assert found.loading <= idle_lost + 1e-6 <= (found.deaths + 1) * 1.0 + 1e-6
    assert found.calls_lost <= found.deaths
    assert 0 < found.lost < 10 * found.calls_lost
    assert found.utilisation == pytest.approx(400 / found.makespan)


def test_equal_seeds_give_equal_simulations_and_other_seeds_differ() -> None:
    tasks = [make(f"a{i}", f"m{i % 3}", cost=50.0 + i) for i in range(60)]
    tasks += [score(f"e{i}.{t}", f"m{t}", of=f"a{i}") for i in range(60) for t in range(3)]
    conditions = {"switch": 1.0, "deaths_per_hour": 10.0, "restart": 3.0}
    one = run(tasks, uniform_fleet(4), seed=1, **conditions)
    assert one == run(tasks, uniform_fleet(4), seed=1, **conditions)
    assert one.deaths > 0
    assert one.makespan != run(tasks, uniform_fleet(4), seed=2, **conditions).makespan


def test_images_move_once_to_each_other_device() -> None:
    tasks = [make("a", "m", nbytes=100), score("e0", "m", of="a"), score("e1", "n", of="a")]
    tasks += [score("e2", "n", of="a")]
    assert run(tasks, uniform_fleet(2)).moved == 100
    assert run(tasks, shared(2, width=1)).moved == 0


def test_stored_aes_are_not_computed_but_move_to_their_targets() -> None:
    tasks = [make("a", "m", nbytes=100), score("e0", "m", of="a"), score("e1", "n", of="a")]
    found = run(tasks, uniform_fleet(2), stored=["a", "e0"], switch=2.0)
    assert (found.calls, found.makespan, found.moved) == (1, pytest.approx(3.0), 100)


def test_unusable_slots_raise_an_error() -> None:
    with pytest.raises(RuntimeError, match="left 1 of 1 tasks undone"):
        run([make("a")], [])


MODELS = st.sampled_from("abcd")


@st.composite
def works(draw: st.DrawFn) -> list[Task]:
    costs = st.floats(0.1, 100.0)
    tasks: list[Task] = []
    for i in range(draw(st.integers(1, 12))):
        source = draw(st.one_of(MODELS, st.none()))
        tasks.append(make(f"a{i}", source, draw(costs), nbytes=draw(st.integers(0, 50))))
        for j in range(draw(st.integers(0, 4))):
            tasks.append(score(f"e{i}.{j}", draw(MODELS), f"a{i}", draw(costs)))
    return tasks


@settings(max_examples=60, deadline=None)
@given(
    tasks=works(),
    places=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=3),
    startup=st.floats(0, 30),
    switch=st.floats(0, 50),
    deaths=st.sampled_from([0.0, 0.0, 20.0]),
    budget=st.integers(1, 200),
)
def test_makespan_of_any_plan_is_at_least_the_bound(
    tasks: list[Task],
    places: list[tuple[int, int]],
    startup: float,
    switch: float,
    deaths: float,
    budget: int,
) -> None:
    slots = [
        Slot(f"{d}.{i}", f"d{d}", width)
        for d, (count, width) in enumerate(places)
        for i in range(count)
    ]
    conditions = SimulationSettings(
        startup=startup,
        switch=switch,
        loading={"a": 2 * switch},
        call=0.01,
        deaths_per_hour=deaths,
        restart=1.0,
        in_flight_bytes=budget,
    )
    found = simulate(by_key(tasks), slots, conditions)
    work = sum(task.cost + 0.01 for task in tasks)
    assert found.calls == len(tasks)
    assert sum(found.busy.values()) - found.lost == pytest.approx(work)
    assert found.makespan >= lower_bound(tasks, slots, conditions) * (1 - 1e-9)
    assert max(found.curve) <= 1 + 1e-6
    assert found.makespan * found.capacity * (1 + 1e-9) >= work + found.loading
