"""What models cost: measured once and kept, given by hand, or assumed and said to be."""

from pathlib import Path
from typing import Any

import pytest
import torch

from segtransfer.errors import InputError
from segtransfer.experiment.plan import Plan, make_plan
from segtransfer.experiment.task import FORWARD_AND_BACKWARD
from segtransfer.forecast import calibration
from segtransfer.forecast import cost_model as rates
from segtransfer.forecast.calibration import calibrate, line_through, read_rates
from segtransfer.forecast.cost_model import GivenRates
from segtransfer.store import Store
from segtransfer.store.measured_costs import LinearCost
from tests.orchestrator.toy_experiments import toy, toy_experiment
from tests.toys import convolutional


def plan_in(folder: Path, **changes: Any) -> tuple[Plan, Store]:
    experiment = toy_experiment(folder, **changes)
    store = Store(experiment.runtime.store)
    return make_plan(experiment, store), store


def test_rates_without_a_measurement_are_marked_as_assumed(tmp_path: Path) -> None:
    plan, store = plan_in(tmp_path)
    found = read_rates(plan, store)
    assert found.measured == frozenset()
    assert found.models.keys() == plan.models.keys()
    assert found.startup == rates.STARTUP_SECONDS
    model = next(iter(found.models.values()))
    assert model.forward.call == model.step.call == 0
    assert model.step.image == pytest.approx(FORWARD_AND_BACKWARD * model.forward.image)
    assert model.scaled == model.step
    assert model.peak_bytes is None


def test_measured_rates_are_stored_and_read_by_later_plans(tmp_path: Path) -> None:
    plan, store = plan_in(tmp_path)
    named: list[str] = []
    calibrate(plan, store, named.append)
    assert named == ["a", "b"]
    later, again = plan_in(tmp_path)
    rates = read_rates(later, again)
    assert rates.measured == plan.models.keys()
    for model in rates.models.values():
        for line in (model.forward, model.step, model.scaled):
            assert min(line.call, line.image) >= 0
            assert 0 < line.seconds(1, 1) < 1
        assert model.load > 0
        assert model.finish >= 0
    assert len(list(Path(store.location, "calibration").iterdir())) == 2


def test_a_slow_model_is_measured_as_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``linear`` sleeps as long for one image as for two; sleeping takes no CPU time, so watch the
    wall clock here."""
    monkeypatch.setattr(calibration.time, "thread_time", calibration.time.perf_counter)
    weights = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    slow = toy("slow", "linear", weights=weights, delay=0.25)
    plan, store = plan_in(tmp_path, models=[slow], runtime={"micro_batch": 2})
    calibrate(plan, store)
    (rates,) = read_rates(plan, store).models.values()
    for line in (rates.forward, rates.step, rates.scaled):
        for images in (1, 2):
            assert 0.2 <= line.seconds(1, images) < 0.6


@pytest.mark.parametrize(
    ("points", "line"),
    [
        ([(1, 3.0), (4, 9.0)], LinearCost(1.0, 2.0)),
        ([(1, 3.0)], LinearCost(0.0, 3.0)),
        ([(1, 3.0), (4, 2.0)], LinearCost(2.0, 0.0)),
        ([(1, 1.0), (4, 8.0)], LinearCost(0.0, 2.0)),
        ([(0.5, 3.0), (2.5, 7.0)], LinearCost(2.0, 2.0)),
    ],
    ids=["two sizes", "one size", "falling", "none a call", "areas"],
)
def test_line_has_seconds_per_call_and_per_image_none_below_zero(
    points: list[tuple[float, float]], line: LinearCost
) -> None:
    found = line_through(points)
    assert (found.call, found.image) == pytest.approx((line.call, line.image))


@pytest.mark.parametrize(
    "changes",
    [
        {"runtime": {"micro_batch": 1}},
        {"numerics": "fast"},
        {"models": [toy("a", seed=5), toy("b", seed=6)]},
    ],
    ids=["micro-batch", "numerics", "weights"],
)
def test_rates_of_another_computation_are_not_used(changes: dict[str, Any], tmp_path: Path) -> None:
    plan, store = plan_in(tmp_path)
    calibrate(plan, store)
    other, again = plan_in(tmp_path, **changes)
    assert read_rates(other, again).measured == frozenset()


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 0, "rates": {}}', b"[]"])
def test_torn_file_counts_as_not_measured(content: bytes, tmp_path: Path) -> None:
    plan, store = plan_in(tmp_path)
    calibrate(plan, store)
    for path in Path(store.location, "calibration").iterdir():
        path.write_bytes(content)
    assert read_rates(plan, store).measured == frozenset()


def test_given_rates_override_measured_rates(tmp_path: Path) -> None:
    plan, store = plan_in(tmp_path)
    calibrate(plan, store)
    rates = read_rates(plan, store, GivenRates(forward=0.5, startup=3.0, switch=4.0))
    assert rates.measured == frozenset()
    assert rates.startup == 3.0
    lines = LinearCost(0.0, 0.5), LinearCost(0.0, 1.25), LinearCost(0.0, 1.25)
    assert {(m.forward, m.step, m.scaled) for m in rates.models.values()} == {lines}
    assert {m.load for m in rates.models.values()} == {4.0}


def test_unusable_model_is_named(tmp_path: Path) -> None:
    weights = tmp_path / "narrow.pth"
    torch.save(convolutional(num_classes=2).state_dict(), weights)
    source = {"callable": "tests.toys:convolutional", "arguments": {"num_classes": 2}}
    narrow = {"name": "narrow", "torch": {**source, "weights": str(weights)}}
    plan, store = plan_in(tmp_path, models=[narrow])
    with pytest.raises(
        InputError, match=r"Model 'narrow' cannot be measured: model 'narrow' predicts 2 classes"
    ):
        calibrate(plan, store)


def test_calibration_restores_torch_threads(tmp_path: Path) -> None:
    plan, store = plan_in(tmp_path)
    torch.set_num_threads(2)
    try:
        calibrate(plan, store)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
