"""A cluster whose nodes die and join under the executor; run by test_executor.py in its own
process, whose environment says where Ray may live."""

import logging
import os
from typing import Any

import numpy as np
import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from segtransfer.runtime.executors.base import Failed, Finished, SlotDown, SlotUp
from tests.orchestrator.runtime.executors.ray.test_executor import (
    LONG,
    SLOW,
    Bench,
    attack_task,
    evaluate_task,
    executor_with,
    toy,
)


def short(node: Any) -> str:
    return node.node_id[:8]


def images_on(node: Any) -> Any:
    """A reference of images, larger than what Ray keeps with their owner, that lie there alone."""

    def images() -> np.ndarray:
        return np.zeros((1, 2, 3, 600, 600), np.uint8)

    where = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": where}
    made: Any = ray.remote(images).options(**options).remote()
    ray.wait([made], timeout=60, fetch_local=False)
    return made


def lose_a_node(cluster: Cluster, bench: Bench) -> Any:
    """Its slots end for good, and only the call that it was at is told; returns images
    that were there."""
    node = cluster.add_node(num_cpus=1)
    up = bench.until(SlotUp)
    assert up.slot.slot_id.startswith(short(node)), up
    bench.host(up.slot.slot_id, SLOW)
    bench.start(up.slot.slot_id, attack_task("made"))
    assert bench.until(Finished).key == "made"
    made = images_on(node)
    for key in ("running", "behind"):
        bench.start(up.slot.slot_id, attack_task(key, LONG))
    bench.quiet(1.0)
    before = bench.read
    cluster.remove_node(node, allow_graceful=False)
    # That the worker is gone may be known before that its node is.
    while not bench.until(SlotDown).final:
        pass
    failed, *_ = told = bench.events[before : bench.read]
    assert isinstance(failed, Failed), told
    assert (failed.key, failed.kind) == ("running", "infrastructure"), told
    assert all(isinstance(e, SlotDown) and e.slot_id == up.slot.slot_id for e in told[1:]), told
    bench.quiet(5.0)
    return made


def join_a_node(cluster: Cluster, bench: Bench, lost: Any) -> None:
    """A node that joins takes part; what was lost with another is told as lost."""
    node = cluster.add_node(num_cpus=2)
    slots = [bench.until(SlotUp).slot for _ in range(2)]
    assert all(slot.slot_id.startswith(short(node)) for slot in slots), slots
    assert len({slot.slot_id for slot in slots}) == 2, slots
    assert {slot.device for slot in slots} == {f"node-{short(node)}/cpu"}, slots
    slot = slots[1].slot_id
    bench.host(slot, toy("a", seed=1))
    bench.start(slot, evaluate_task("of lost images", "made"), lost)
    failed = bench.until(Failed)
    assert (failed.key, failed.kind) == ("of lost images", "infrastructure"), failed
    assert "an input was lost" in failed.message, failed
    bench.start(slot, evaluate_task("clean"))
    assert bench.until(Finished).key == "clean"


def join_a_gpu(cluster: Cluster, bench: Bench) -> None:
    """A node with GPUs (as Ray counts them) gets as many slots as share them."""
    node = cluster.add_node(num_cpus=2, num_gpus=2)
    slots = [bench.until(SlotUp).slot for _ in range(2)]
    assert {slot.device for slot in slots} == {f"node-{short(node)}/gpu"}, slots
    assert {slot.width for slot in slots} == {2}, slots
    assert ray.available_resources().get("GPU", 0.0) == 0.0
    bench.host(slots[0].slot_id, toy("a", seed=1))
    bench.start(slots[0].slot_id, evaluate_task("clean"))
    assert bench.until(Finished).key == "clean"


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    bench = Bench(executor_with("auto"))
    try:
        bench.executor.open(1)
        bench.quiet(1.0)
        lost = lose_a_node(cluster, bench)
        join_a_node(cluster, bench, lost)
        join_a_gpu(cluster, bench)
        os.write(1, b"all told\n")
    finally:
        bench.executor.close()
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
