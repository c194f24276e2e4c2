"""How many slots share a GPU: a pure function, and planner and driver that agree on it.

Nothing here has a GPU: its memory is given.
"""

from pathlib import Path
from typing import Any

import pytest

from segtransfer.experiment.runtime_spec import Fleet
from segtransfer.forecast import forecast
from segtransfer.runtime.executors.slot_sizing import (
    CONTEXT_BYTES,
    pick_slots_per_gpu,
    slots_that_fit,
)
from tests.orchestrator.runtime.test_driver import ControlledExecutor, Harness
from tests.orchestrator.store.test_measured_costs import store_as_measured_on_a_gpu

GIB = 2**30
AUTO = Fleet()


def room_for(*peaks: int) -> int:
    """The smallest GPU that holds models of these peaks beside the reserve of a tenth."""
    return -(-10 * sum(peak + CONTEXT_BYTES for peak in peaks) // 9)


def test_the_largest_models_fit_side_by_side_with_their_contexts_and_the_reserve() -> None:
    peaks = [GIB, 4 * GIB, 2 * GIB]
    assert slots_that_fit(peaks, room_for(4 * GIB, 2 * GIB, GIB) + 1) == 3
    assert slots_that_fit(peaks, room_for(4 * GIB, 2 * GIB, GIB) - 10) == 2
    assert slots_that_fit(peaks, room_for(4 * GIB, 2 * GIB) + 1) == 2
    assert slots_that_fit(peaks, room_for(4 * GIB, 2 * GIB) - 10) == 1
    assert slots_that_fit(peaks, 1 * GIB) == 1, "micro-batches are halved where memory runs out"


def test_auto_slots_follow_models_within_memory() -> None:
    small, large = [GIB // 2] * 20, [30 * GIB] * 20
    assert pick_slots_per_gpu(AUTO, 2, 20, small, 80 * GIB) == 10, "every model stays loaded"
    assert pick_slots_per_gpu(AUTO, 2, 20, large, 80 * GIB) == 2
    assert pick_slots_per_gpu(AUTO, 2, 2, small[:2], 80 * GIB) == 1
    assert pick_slots_per_gpu(AUTO, 20, 20, small, 80 * GIB) == 1


def test_without_a_measurement_slots_follow_the_models_up_to_a_limit() -> None:
    for models, each in ((1, 1), (2, 1), (3, 2), (600, 8)):
        assert pick_slots_per_gpu(AUTO, 2, models) == each
        assert pick_slots_per_gpu(AUTO, 2, models, (), 80 * GIB) == each
        assert pick_slots_per_gpu(AUTO, 2, models, [GIB] * models, None) == each
    assert pick_slots_per_gpu(AUTO, 0, 5) == 1


def test_given_number_of_slots_overrides_auto() -> None:
    assert pick_slots_per_gpu(Fleet(slots_per_gpu=3), 2, 20, [70 * GIB] * 20, 80 * GIB) == 3


@pytest.mark.parametrize(
    ("memory", "each"), [(80 * GIB, 2), (8 * GIB, 1), (None, 2)], ids=["large", "small", "unknown"]
)
def test_the_plan_and_the_executor_open_the_same_slots(
    memory: int | None, each: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models of 5 GiB on one GPU: both fit into 80 GiB and one into 8."""
    from segtransfer.runtime.executors.ray import executor as executor_module
    from segtransfer.runtime.executors.ray import nodes as nodes_module
    from segtransfer.runtime.executors.ray.allocation import SlotAllocator

    node = nodes_module.NodeCapacity("node", 8, 1, 40)
    monkeypatch.setattr(executor_module, "alive_nodes", lambda: [node])
    monkeypatch.setattr(nodes_module, "least_gpu_bytes", lambda nodes: memory)
    monkeypatch.setattr(forecast.torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(forecast, "smallest_gpu", lambda: memory)
    allocated: list[int] = []

    def new_slots(_: object, node: Any, new: int, slots: int, per_gpu: int) -> list[Any]:
        allocated.extend((new, slots, per_gpu))
        return []

    monkeypatch.setattr(SlotAllocator, "_new_slots", new_slots)

    harness = Harness(tmp_path, ControlledExecutor())
    plan = harness.plan(runtime={"executor": "ray"})
    store_as_measured_on_a_gpu(plan, harness.store, dict.fromkeys(plan.models, 5 * GIB))
    harness.submit(plan)
    location = harness.store.location
    executor = executor_module.RayExecutor(fleet=AUTO, micro_batch=4, store=location)
    executor.open(2, peaks=harness.executor.peaks)
    assert allocated == [each] * 3
    assert len(forecast.slots_here(plan, harness.store)[1]) == each


def test_peaks_are_read_once_before_the_first_slots(tmp_path: Path) -> None:
    harness = Harness(tmp_path, ControlledExecutor())
    plan = harness.plan()
    store_as_measured_on_a_gpu(plan, harness.store, dict.fromkeys(plan.models, 5 * GIB))
    harness.submit(plan)
    assert harness.executor.peaks == (5 * GIB,) * 2
    harness.step(2)
    harness.submit(plan)
    assert harness.executor.peaks == ()
