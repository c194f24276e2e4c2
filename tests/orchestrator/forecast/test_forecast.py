"""Bounds, fleets and power, against cases with known answers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from segtransfer.errors import InputError
from segtransfer.experiment.manifest import describe
from segtransfer.experiment.plan import Plan, make_plan
from segtransfer.experiment.task import Task
from segtransfer.forecast import forecast as forecasts
from segtransfer.forecast.calibration import read_rates
from segtransfer.forecast.cost_model import GivenRates, in_seconds
from segtransfer.forecast.forecast import (
    AE_RATIO,
    forecast,
    lower_bound,
    read_counts,
    settings_of,
    slots_here,
    stored_bytes,
    uniform_fleet,
)
from segtransfer.runtime.scheduler import Slot
from segtransfer.runtime.simulator import SimulationSettings
from segtransfer.statistics.design import Factor
from segtransfer.statistics.power import ASSUMED_SPREAD, Spread, detectable, power_of, spread_of
from segtransfer.store import Store
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.shards import read_again
from tests.orchestrator.toy_experiments import toy, toy_experiment

PGD = AttackSpec.model_validate("pgd")


def make(key: str, model: str | None, cost: float) -> Task:
    return Task(key, model, "shard", cost, 0, attack=PGD)


def score(key: str, model: str, cost: float, of: str | None = None) -> Task:
    return Task(key, model, "shard", cost, 0, depends_on=of)


def plan_in(folder: Path, **changes: Any) -> tuple[Plan, Store]:
    experiment = toy_experiment(folder, **changes)
    store = Store(experiment.runtime.store)
    return make_plan(experiment, store), store


CHAIN = SimulationSettings(startup=5.0, switch=2.0)


@pytest.mark.parametrize(
    ("tasks", "slots", "bound"),
    [
        ([score("e", "m", 8.0), score("f", "n", 8.0)], uniform_fleet(1), 5 + 16 + 2 + 2),
        ([score(f"e{i}", "m", 8.0) for i in range(4)], uniform_fleet(4), 5 + 2 + 8),
        ([make("a", "m", 30.0), score("e", "n", 9.0, "a")], uniform_fleet(9), 5 + 2 + 30 + 9),
        ([make("a", None, 30.0), score("e", "n", 9.0, "a")], uniform_fleet(9), 5 + 30 + 9),
        ([score(f"e{i}", f"{i}", 8.0) for i in range(4)], [Slot(f"{i}", "d", 2) for i in range(4)],
         5 + (32 + 8) / 2),
        ([score("e", "m", 8.0)], [Slot(f"{i}", "d", 2) for i in range(4)], 5 + 2 + 8),
    ],
    ids=["work", "work on four", "chain", "chain without a source", "width", "one call"],
)  # fmt: skip
def test_the_bound_is_the_largest_of_work_and_chain(
    tasks: list[Task], slots: list[Slot], bound: float
) -> None:
    assert lower_bound(tasks, slots, CHAIN) == pytest.approx(bound)


def test_stored_tasks_are_not_counted_as_work() -> None:
    tasks = [make("a", "m", 30.0), score("e", "n", 9.0, "a")]
    assert lower_bound(tasks, uniform_fleet(1), CHAIN, stored={"a"}) == pytest.approx(5 + 2 + 9)


def test_forecast_fields_are_consistent(tmp_path: Path) -> None:
    plan, store = plan_in(tmp_path)
    rates = read_rates(plan, store, GivenRates(forward=2.0, switch=1.0, startup=3.0))
    found = forecast(plan, store, rates, (1, 4, 64))
    assert [fleet.slots for fleet in found.fleets] == [2, 1, 4, 64]
    work = sum(task.cost for task in in_seconds(plan, rates).values())
    assert found.work == pytest.approx(work)
    for fleet in found.fleets:
        assert fleet.bound <= fleet.makespan * (1 + 1e-9)
        assert fleet.simulation.calls == len(plan.tasks)
        assert fleet.device_hours == pytest.approx(fleet.devices * fleet.makespan / 3600)
    inline, one, four, many = found.fleets
    assert one.makespan > four.makespan >= many.makespan
    assert inline.makespan == pytest.approx(work + 2 + 0.01 * len(plan.tasks))
    assert one.makespan >= work + 2


def test_simulated_part_of_the_shards_is_extrapolated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = plan_in(tmp_path, shard_size=1)
    rates = read_rates(plan, store, GivenRates(forward=2.0))
    exact = forecast(plan, store, rates, (1, 2))
    monkeypatch.setattr(forecasts, "EXACT_TASKS", len(plan.tasks) // 2)
    part = forecast(plan, store, rates, (1, 2))
    assert (exact.part, part.part) == (1, 2)
    for ours, theirs in zip(part.fleets, exact.fleets, strict=True):
        assert ours.simulation.calls < theirs.simulation.calls
        assert ours.makespan == pytest.approx(theirs.makespan, rel=0.1)
        assert ours.bound == theirs.bound


def test_bytes_cover_missing_tasks_only(tmp_path: Path) -> None:
    plan, _ = plan_in(tmp_path)
    images, scores = stored_bytes(plan)
    # noise once, pgd and ds-mi from two sources; 6 images of 24 x 32.
    assert images == pytest.approx(AE_RATIO * 5 * 6 * 3 * 24 * 32)
    assert 0 < scores < images


def test_conditions_follow_the_runtime(tmp_path: Path) -> None:
    plan, store = plan_in(tmp_path, runtime={"window": 5, "in_flight_mib": 7, "executor": "ray"})
    found = settings_of(plan, read_rates(plan, store), uniform_fleet(3))
    assert (found.window, found.in_flight_bytes) == (5, 7 * 2**20)
    assert found.startup > 0
    name, slots = slots_here(plan, store)
    assert name.startswith("this machine")
    assert len({slot.device for slot in slots}) == 1 or "GPU" in name


def test_fleet_of_the_spec_is_simulated(tmp_path: Path) -> None:
    plan, store = plan_in(tmp_path, runtime={"executor": "ray", "fleet": {"slots": 7}})
    assert len(slots_here(plan, store)[1]) == 7


@pytest.mark.skipif(torch.cuda.is_available(), reason="workers on GPUs leave the cores alone")
def test_calls_cost_more_if_ray_and_the_driver_share_the_workers_cores(tmp_path: Path) -> None:
    call = {}
    for executor in ("inline", "ray"):
        plan, store = plan_in(tmp_path, runtime={"executor": executor})
        rates = read_rates(plan, store)
        call[executor] = settings_of(plan, rates, slots_here(plan, store)[1]).call
        assert settings_of(plan, rates, uniform_fleet(2)).call == call["inline"]
    assert call["ray"] > call["inline"]


@pytest.mark.parametrize("text", ["", "0", "8,", "-1", "many", "1e3", "65537"])
def test_sizes_of_fleets_are_checked(text: str) -> None:
    with pytest.raises(InputError, match="--slots"):
        read_counts(text)


def test_sizes_of_fleets_are_read() -> None:
    assert read_counts("1, 8,64") == (1, 8, 64)


# Student, from printed tables.
def test_smallest_detectable_difference_is_found_with_power_80() -> None:
    """Differences with known variances and the smallest difference as their mean, tested by t."""
    spread, groups, each = Spread(image=5.0, group=2.0, source=""), 8, 25
    smallest = detectable(spread, [each] * groups)
    assert smallest is not None
    generator = np.random.default_rng(0)
    shape = (4000, groups)
    means = smallest + generator.normal(0, spread.group, shape)
    means += generator.normal(0, spread.image / np.sqrt(each), shape)
    t = means.mean(1) / (means.std(1, ddof=1) / np.sqrt(groups))
    found = (np.abs(t) > stats.t.ppf(0.975, groups - 1)).mean()
    assert found == pytest.approx(0.8, abs=0.03)


def test_uneven_groups_detect_less_than_even_groups_of_the_same_images() -> None:
    spread = Spread(5.0, 2.0, "")
    uneven, even = detectable(spread, [1, 1, 2, 4, 4, 12]), detectable(spread, [4] * 6)
    assert uneven is not None
    assert even is not None
    assert uneven > even


def test_smallest_detectable_difference_falls_with_images_and_groups() -> None:
    spread = Spread(5.0, 2.0, "")
    shown = [detectable(spread, sizes) or 0.0 for sizes in ([12] * 8, [50] * 8, [12] * 32)]
    assert shown[0] > shown[1] > shown[2] > 0
    assert detectable(spread, [100]) is None


@pytest.mark.parametrize(("image", "group"), [(4.0, 0.0), (1.0, 3.0)])
def test_a_known_spread_is_recovered(image: float, group: float) -> None:
    generator = np.random.default_rng(1)
    groups, each = 400, 5
    clusters = np.repeat(np.arange(groups), each)
    values = generator.normal(0, image, groups * each)
    values += generator.normal(0, group, groups)[clusters]

    def mean(factor: Factor) -> np.ndarray:
        sums = factor.sums(np.stack([values, np.ones(len(values))], axis=1))
        return sums[:, 0] / sums[:, 1]

    found = spread_of(mean, list(clusters))
    whole = detectable(found, [each] * groups)
    assert whole == pytest.approx(detectable(Spread(image, group, ""), [each] * groups), rel=0.15)


def test_spread_of_few_groups_is_not_underestimated() -> None:
    """The bootstrap of 3 groups of 2 equal images sees two thirds of their variance."""
    values = np.repeat([1.0, 4.0, 10.0], 2)

    def mean(factor: Factor) -> np.ndarray:
        sums = factor.sums(np.stack([values, np.ones(len(values))], axis=1))
        return sums[:, 0] / sums[:, 1]

    found = spread_of(mean, [0, 0, 1, 1, 2, 2])
    assert found.image == pytest.approx(values.std(ddof=1), rel=0.06)
    whole = found.image**2 / 6 + found.group**2 / 3
    assert whole == pytest.approx(np.var([1.0, 4.0, 10.0], ddof=1) / 3, rel=0.12)


def test_spread_without_a_stored_run_is_assumed(tmp_path: Path) -> None:
    plan, store = plan_in(tmp_path)
    assert power_of(plan, store).spread == ASSUMED_SPREAD


def test_a_stored_run_on_the_same_data_gives_the_spread(tmp_path: Path) -> None:
    """Every image's confusions are written by hand: the second attack is worse on half of them."""
    attacks = [{"preset": "noise"}, {"preset": "pgd", "steps": 1}, {"preset": "mi", "steps": 1}]
    plan, store = plan_in(tmp_path, attacks=attacks)
    store.save_experiment(plan.identity, describe(plan).stored())
    attack_of = {cell.key: cell.attack for cell in plan.cells}
    for key, task in plan.tasks.items():
        if task.kind == "attack":
            continue
        shard = read_again(plan.dataset, plan.experiment.data, plan.shards[task.shard_id])
        confusions = np.zeros((len(shard.images), 3, 3), np.int64)
        for i, image_id in enumerate(shard.image_ids):
            worse = attack_of[key] == "mi" and int(image_id[-1]) % 2
            confusions[i] = np.eye(3, dtype=int) * (80 if worse else 90) + 5
        store.commit_evaluation(task, shard, confusions, np.zeros_like(shard.labels), {})
    wider, _ = plan_in(tmp_path, attacks=attacks, models=[toy("a", seed=1)])
    power = power_of(wider, store)
    assert power.spread.source.startswith("mi minus pgd in experiment")
    assert power.difference is not None
    # IoUs of 95/115 and 85/105, each on half of the six images.
    half = 100 * (95 / 115 - 85 / 105) / 2
    assert power.spread.image == pytest.approx(half * (6 / 5) ** 0.5, rel=0.1)
    other = tmp_path / "elsewhere"
    other.mkdir()
    elsewhere, _ = plan_in(other, data={"sample": "camvid", "images": 2, "size": [16, 16]},
                           models=["fcn-r18"])  # fmt: skip
    assert power_of(elsewhere, store).spread == ASSUMED_SPREAD
