"""Measured costs, as the driver and the forecast read them from a store."""

import json
from pathlib import Path

import pytest
import torch

from segtransfer.experiment.plan import Plan
from segtransfer.experiment.task import FORWARD_AND_BACKWARD
from segtransfer.forecast.calibration import calibrate
from segtransfer.store import Store
from segtransfer.store.measured_costs import COSTS_VERSION, measured_paces, peaks_on_gpus
from tests.orchestrator.forecast.test_calibration import plan_in


def store_as_measured_on_a_gpu(plan: Plan, store: Store, peaks: dict[str, int]) -> None:
    """Store what ``calibrate`` would measure on a machine with a GPU, by model key."""
    for number, (model, peak) in enumerate(peaks.items()):
        line = {"call": 0.0, "image": 0.1}
        content = {
            "version": COSTS_VERSION,
            "of": {"model": model, "type": "cuda", "size": [24, 32], "micro_batch": 4},
            "rates": {"load": 1.0, "forward": line, "step": line, "scaled": line, "finish": 0.0,
                      "peak_bytes": peak},
        }  # fmt: skip
        store.files.write(f"calibration/gpu-{number}.json", json.dumps(content).encode())


def test_peaks_on_gpus_are_of_models_size_and_micro_batch(
    tmp_path: Path,
) -> None:
    plan, store = plan_in(tmp_path)
    size = next(iter(plan.shards.values())).size
    calibrate(plan, store)
    assert torch.cuda.is_available() or peaks_on_gpus(store, plan.models, size, 4) == ()
    first, second = plan.models
    store_as_measured_on_a_gpu(plan, store, {first: 7, second: 9})
    assert sorted(peaks_on_gpus(store, plan.models, size, 4)) == [7, 9]
    assert peaks_on_gpus(store, [second], size, 4) == (9,)
    assert peaks_on_gpus(store, [first, "unmeasured"], size, 4) == ()
    assert peaks_on_gpus(store, plan.models, size, 2) == ()
    assert peaks_on_gpus(store, plan.models, None, 4) == ()
    narrower = size[0], size[1] - 1
    assert peaks_on_gpus(store, plan.models, narrower, 4) == ()


def test_paces_are_the_slowest_measurement_per_type_of_device(tmp_path: Path) -> None:
    """Seconds an image for scores; for attacks a step's, over the cost that plans give it."""
    plan, store = plan_in(tmp_path)
    size = next(iter(plan.shards.values())).size
    assert measured_paces(store, size, 4) == {}
    first, second = plan.models
    store_as_measured_on_a_gpu(plan, store, {first: 7, second: 9})
    slower = json.loads(Path(store.location, "calibration/gpu-0.json").read_text())
    slower["rates"]["scaled"] = {"call": 0.3, "image": 0.2}
    store.files.write("calibration/slower.json", json.dumps(slower).encode())
    assert measured_paces(store, size, 4) == pytest.approx(
        {
            (first, "evaluate", "cuda"): 0.1,
            (first, "attack", "cuda"): 0.5 / FORWARD_AND_BACKWARD,
            (second, "evaluate", "cuda"): 0.1,
            (second, "attack", "cuda"): 0.1 / FORWARD_AND_BACKWARD,
        }
    )
    assert measured_paces(store, size, 2) == {}
