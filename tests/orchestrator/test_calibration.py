"""What models cost: measured once and kept, given by hand, or assumed and said to be."""

from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator import calibration
from orchestrator.calibration import Given, ModelRates, Rates, calibrate, in_seconds, read_rates
from orchestrator.plan import FORWARD_AND_BACKWARD, Plan, make_plan
from orchestrator.store import Store
from tasks.errors import InputError
from tests.orchestrator.toy_experiments import toy, toy_experiment


def plan_in(folder: Path, **changes: Any) -> tuple[Plan, Store]:
    experiment = toy_experiment(folder, **changes)
    store = Store(experiment.runtime.store)
    return make_plan(experiment, store), store


def test_without_any_measurement_rates_are_assumed_and_say_so(tmp_path: Path) -> None:
    plan, store = plan_in(tmp_path)
    rates = read_rates(plan, store)
    assert rates.measured == frozenset()
    assert rates.models.keys() == plan.models.keys()
    assert rates.startup == calibration.STARTUP_SECONDS
    model = next(iter(rates.models.values()))
    assert model.step == pytest.approx(FORWARD_AND_BACKWARD * model.forward)
    assert model.peak_bytes is None


def test_what_was_measured_is_kept_and_read_by_later_plans(tmp_path: Path) -> None:
    plan, store = plan_in(tmp_path)
    named: list[str] = []
    calibrate(plan, store, named.append)
    assert named == ["a", "b"]
    later, again = plan_in(tmp_path)
    rates = read_rates(later, again)
    assert rates.measured == plan.models.keys()
    for model in rates.models.values():
        assert 0 < model.forward <= model.step < 1
        assert model.load > 0
        assert model.finish >= 0
        assert 1 <= model.scaled < 50
    assert len(list(Path(store.location, "calibration").iterdir())) == 2


def test_a_slow_model_is_measured_as_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``linear`` sleeps 20 ms a forward of two images; sleeping takes no CPU time, so watch the
    wall clock here."""
    monkeypatch.setattr(calibration.time, "thread_time", calibration.time.perf_counter)
    weights = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    slow = toy("slow", "linear", weights=weights, delay=0.5)
    plan, store = plan_in(tmp_path, models=[slow], runtime={"micro_batch": 2})
    calibrate(plan, store)
    (rates,) = read_rates(plan, store).models.values()
    assert 0.25 <= rates.forward < 1
    assert 0.25 <= rates.step < 1


@pytest.mark.parametrize(
    "changes",
    [
        {"runtime": {"micro_batch": 1}},
        {"numerics": "fast"},
        {"models": [toy("a", seed=5), toy("b", seed=6)]},
    ],
    ids=["micro-batch", "numerics", "weights"],
)
def test_another_computation_is_not_taken_for_the_measured_one(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    plan, store = plan_in(tmp_path)
    calibrate(plan, store)
    other, again = plan_in(tmp_path, **changes)
    assert read_rates(other, again).measured == frozenset()


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 0, "rates": {}}', b"[]"])
def test_a_torn_file_counts_as_not_measured(content: bytes, tmp_path: Path) -> None:
    plan, store = plan_in(tmp_path)
    calibrate(plan, store)
    for path in Path(store.location, "calibration").iterdir():
        path.write_bytes(content)
    assert read_rates(plan, store).measured == frozenset()


def test_what_is_given_by_hand_wins(tmp_path: Path) -> None:
    plan, store = plan_in(tmp_path)
    calibrate(plan, store)
    rates = read_rates(plan, store, Given(forward=0.5, startup=3.0, switch=4.0))
    assert rates.measured == frozenset()
    assert rates.startup == 3.0
    assert {(m.forward, m.step, m.load) for m in rates.models.values()} == {(0.5, 1.25, 4.0)}


def test_a_task_costs_images_times_forwards_or_steps(tmp_path: Path) -> None:
    attacks = [{"preset": "pgd", "steps": 3}, {"preset": "ds", "steps": 2}, "noise"]
    plan, _ = plan_in(tmp_path, attacks=attacks)
    fast, slow = plan.models
    rates = Rates(
        {fast: ModelRates(1.0, 0.1, 0.2, 0.01), slow: ModelRates(1.0, 1.0, 2.0, 0.5, None, 1.5)},
        0.0,
        "device",
    )
    for task in in_seconds(plan, rates).values():
        step, finish, forward = (0.2, 0.01, 0.1) if task.model == fast else (2.0, 0.5, 1.0)
        expected = {
            "": forward,
            "pgd": 3 * step + finish,
            "ds": 2 * step * 13 / 12 * (1.0 if task.model == fast else 1.5) + finish,
            "noise": 0.5,
        }
        seconds = expected[task.attack.name if task.attack else ""]
        assert task.cost == pytest.approx(len(plan.shards[task.shard_id].images) * seconds)


def test_a_model_that_cannot_work_is_named(tmp_path: Path) -> None:
    weights = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    plan, store = plan_in(tmp_path, models=[toy("narrow", "linear", weights=weights)])
    with pytest.raises(
        InputError, match=r"model 'narrow' cannot be measured: the model predicts 2 classes"
    ):
        calibrate(plan, store)


def test_threads_are_as_before(tmp_path: Path) -> None:
    plan, store = plan_in(tmp_path)
    torch.set_num_threads(2)
    try:
        calibrate(plan, store)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
