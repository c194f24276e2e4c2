"""What the autoscaler is asked for, and when a request is taken back; without a cluster."""

from collections.abc import Sequence
from typing import Any

import pytest

from segtransfer.errors import InputError
from segtransfer.experiment.runtime_spec import Fleet

NOTHING = {"num_cpus": 0}
EIGHT = {"bundles": [{"GPU": 1.0}] * 8}


class Cloud:
    """An autoscaler that writes down what it is asked for, and nodes that come as a test says."""

    def __init__(self, gpus: Sequence[int] = ()) -> None:
        self.gpus = gpus
        self.heard: list[dict[str, Any]] = []

    def nodes(self) -> list[Any]:
        from segtransfer.runtime.executors.ray.nodes import NodeCapacity

        return [NodeCapacity(f"node-{n}", 8, gpus, 8) for n, gpus in enumerate(self.gpus)]

    def request_resources(self, **resources: Any) -> None:
        self.heard.append(resources)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    from segtransfer.runtime.executors.ray import executor as executor_module
    from segtransfer.runtime.executors.ray import nodes as nodes_module
    from segtransfer.runtime.executors.ray.allocation import SlotAllocator

    cloud = Cloud()
    monkeypatch.setattr(nodes_module, "request_resources", cloud.request_resources)
    monkeypatch.setattr(executor_module, "alive_nodes", cloud.nodes)
    monkeypatch.setattr(SlotAllocator, "_new_slots", lambda *_: [])
    return cloud


def executor(**fleet: Any) -> Any:
    from segtransfer.runtime.executors.ray.executor import RayExecutor

    return RayExecutor(fleet=Fleet(**fleet), micro_batch=4, store="unused")


def test_run_requests_missing_nodes_and_withdraws_the_request_when_met(cloud: Cloud) -> None:
    cloud.gpus = [1]
    run = executor(slots=8)
    run.open(1)
    run._update_nodes()
    assert cloud.heard == [EIGHT]
    cloud.gpus = [1] * 8
    run._update_nodes()
    run._update_nodes()
    assert cloud.heard == [EIGHT, NOTHING]
    cloud.gpus = [1] * 7
    run._update_nodes()
    assert cloud.heard[2:] == [EIGHT], "a node was lost, as spot nodes are"


def test_request_of_a_killed_run_is_withdrawn_by_the_next_run(cloud: Cloud) -> None:
    cloud.gpus = [1]
    executor(slots=8).open(1)  # and is killed: nobody closes it
    executor(slots=1).open(1)
    assert cloud.heard == [EIGHT, NOTHING]


def test_restarted_driver_withdraws_the_request_of_its_predecessor_on_close(
    cloud: Cloud,
) -> None:
    executor(slots=8).close()
    assert cloud.heard == [NOTHING]


def test_request_replaced_by_another_run_is_repeated_while_nodes_are_missing(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segtransfer.runtime.executors.ray import nodes as nodes_module

    monkeypatch.setattr(nodes_module, "ASK_EVERY", 0.0)
    cloud.gpus = [1]
    large, small = executor(slots=8), executor(slots=1)
    large.open(1)
    small.open(1)
    assert cloud.heard[-1] == NOTHING
    large._update_nodes()
    small._update_nodes()
    assert cloud.heard[-1] == EIGHT


def test_gpus_are_requested_without_gpu_nodes_and_no_cpu_slot_opens(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segtransfer.runtime.executors.ray.allocation import SlotAllocator

    allocated: list[Any] = []

    def new_slots(_: object, node: Any, *rest: int) -> list[Any]:
        allocated.append(node.gpus)
        return []

    monkeypatch.setattr(SlotAllocator, "_new_slots", new_slots)
    cloud.gpus = [0, 0]
    run = executor(slots=16, slots_per_gpu=2, gpus=True)
    run.open(1)
    assert (cloud.heard, allocated) == ([EIGHT], [])
    assert run.awaited() == "GPUs: 8 in all"
    cloud.gpus = [0, 0, *[1] * 8]
    run._update_nodes()
    assert (cloud.heard, allocated) == ([EIGHT, NOTHING], [1] * 8)
    assert run.awaited() == ""


@pytest.mark.parametrize("up", [True, False])
def test_fleet_end_withdraws_the_request_even_if_the_driver_hangs_or_died(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, up: bool
) -> None:
    from segtransfer.runtime.executors.ray import driver, fleets

    def find_fleet(fleet: str) -> object:
        if not up:
            raise InputError("no such fleet")
        return object()  # which does not close

    monkeypatch.setattr(fleets, "join_cluster", lambda *_, **__: False)
    monkeypatch.setattr(fleets, "find_fleet", find_fleet)
    monkeypatch.setattr(driver.ray, "kill", lambda *_, **__: None)
    try:
        fleets.end_fleet("lab")
    except InputError:
        assert not up
    assert cloud.heard == [NOTHING]
