"""Nodes of the cluster: their capacity, their number of slots, and requests for more nodes."""

import heapq
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.state import available_resources_per_node
from ray.autoscaler.sdk import request_resources
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from segtransfer.experiment.runtime_spec import Fleet
from segtransfer.runtime.executors.slot_sizing import (
    WORKER_BYTES,
    pick_slots_per_gpu,
    slots_on_cores,
    smallest_gpu,
)

log = logging.getLogger(__name__)

ANSWER_WITHIN = 60.0  # seconds for a node to report the memory of its GPUs
# Cores of a node kept free of workers, because a driver or client asks for 0.01 each.
SPARE_CORES = 0.1
ASK_EVERY = 30.0  # seconds after which the request for missing nodes is repeated
NO_NODES: Mapping[str, Any] = {"num_cpus": 0}


@dataclass(frozen=True)
class NodeCapacity:
    """The capacity of an alive node.

    Attributes:
        node_id: Ray's id of the node.
        cores: Number of cores, as given to Ray.
        gpus: Number of GPUs.
        workers: Number of workers that its memory carries, at least 1.
    """

    node_id: str
    cores: float
    gpus: int
    workers: int

    @property
    def short_id(self) -> str:
        """First 8 characters of the node's id, for names of slots."""
        return self.node_id[:8]


def alive_nodes() -> list[NodeCapacity]:
    """List the alive nodes of the cluster.

    Returns:
        Their capacity, whether in use or not, sorted by node id.
    """
    nodes = []
    for entry in ray.nodes():
        if entry["Alive"]:
            total: Mapping[str, float] = entry["Resources"]
            memory = total.get("memory", math.inf) / WORKER_BYTES
            nodes.append(
                NodeCapacity(
                    entry["NodeID"],
                    cores=total.get("CPU", 0.0),
                    gpus=int(total.get("GPU", 0)),
                    workers=max(1, int(min(memory, 2**16))),
                )
            )
    return sorted(nodes, key=lambda node: node.node_id)


def share_gpus(
    fleet: Fleet, nodes: Sequence[NodeCapacity], models: int, peaks: Sequence[int]
) -> int:
    """Return the number of slots per GPU.

    If the number depends on the memory of the GPUs, the nodes are asked for it, which blocks.

    Args:
        fleet: The spec of the fleet.
        nodes: All alive nodes.
        models: Number of models to host.
        peaks: Peak GPU memory of each model in bytes; empty unless all were measured.
    """
    gpus = sum(node.gpus for node in nodes)
    matters = fleet.slots_per_gpu == "auto" and peaks and models > gpus
    gpu_bytes = least_gpu_bytes(nodes) if matters else None
    return pick_slots_per_gpu(fleet, gpus, models, peaks, gpu_bytes)


def least_gpu_bytes(nodes: Sequence[NodeCapacity]) -> int | None:
    """Return the memory of the smallest GPU of all nodes.

    Ray knows the number of a node's GPUs, but not their memory. So a process on each node reports
    it, within ``ANSWER_WITHIN`` seconds.

    Returns:
        Bytes. None if torch finds no GPU on a node, or a node does not answer.
    """
    ask: Any = ray.remote(smallest_gpu)
    answers = [
        ask.options(
            num_cpus=0,
            num_gpus=0.01,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False),
        ).remote()
        for node in nodes
        if node.gpus
    ]
    try:
        sizes: list[int | None] = ray.get(answers, timeout=ANSWER_WITHIN)
    except RayError as error:
        log.warning("the memory of the nodes' GPUs could not be read: %s", error)
        for answer in answers:
            ray.cancel(answer)
        return None
    known = [size for size in sizes if size is not None]
    return min(known) if len(known) == len(sizes) else None


def count_slots(
    fleet: Fleet, nodes: Sequence[NodeCapacity], models: int, sources: int, per_gpu: int
) -> dict[str, int]:
    """Return the number of slots per node, in proportion to cores or GPUs.

    If any node has GPUs, or the fleet demands GPUs, only nodes with GPUs get slots.

    Args:
        fleet: The spec of the fleet, whose number of slots is the total unless "auto".
        nodes: All alive nodes.
        models: Number of models to host.
        sources: Number of these models under attack.
        per_gpu: Slots per GPU.

    Returns:
        The number of slots by node id. The sum is less than the total if nodes lack GPUs or memory.
    """
    on_gpus = fleet.gpus or any(node.gpus for node in nodes)
    weights = {n.node_id: float(n.gpus if on_gpus else n.cores) for n in nodes}
    limits = {n.node_id: n.gpus * per_gpu if on_gpus else n.workers for n in nodes}
    if fleet.slots != "auto":
        total = fleet.slots
    elif on_gpus:
        total = sum(limits.values())
    else:
        total = slots_on_cores(int(sum(weights.values())), models, sources)
    return _spread(total, weights, limits)


def missing_resources(fleet: Fleet, nodes: Sequence[NodeCapacity], per_gpu: int) -> dict[str, Any]:
    """Return the request to an autoscaler for a fleet.

    Args:
        fleet: The spec of the fleet; "auto" wants at least one slot.
        nodes: All alive nodes.
        per_gpu: Slots per GPU.

    Returns:
        Arguments of ``request_resources``; empty if the nodes suffice.
    """
    wanted = 1 if fleet.slots == "auto" else fleet.slots
    gpus = sum(node.gpus for node in nodes)
    if gpus or fleet.gpus:
        needed = math.ceil(wanted / per_gpu)
        return {"bundles": [{"GPU": 1.0}] * needed} if needed > gpus else {}
    return {"num_cpus": wanted} if wanted > sum(node.cores for node in nodes) else {}


class NodeRequest:
    """The request for nodes to the autoscaler.

    A cluster keeps only the last request of all its clients, even after the client has ended. So a
    request for missing nodes is repeated, and a run without missing nodes withdraws the request of
    a killed run, which would keep idle nodes.
    """

    def __init__(self) -> None:
        self._asked: Mapping[str, Any] | None = None  # None: another run's request may hold
        self._next = 0.0

    def update(self, missing: Mapping[str, Any], now: float) -> None:
        """Make, repeat or withdraw the request.

        Args:
            missing: The result of ``missing_resources``.
            now: Time in seconds.
        """
        if missing != self._asked or (missing and now >= self._next):
            ask_autoscaler(missing or NO_NODES)
            self._asked, self._next = missing, now + ASK_EVERY

    def __str__(self) -> str:
        """Return a phrase for the requested nodes; empty if none are requested."""
        asked = self._asked or {}
        if bundles := asked.get("bundles"):
            return f"GPUs: {len(bundles)} in all"
        return f"CPUs: {asked['num_cpus']} in all" if asked else ""


def ask_autoscaler(resources: Mapping[str, Any]) -> None:
    """Ask for a cluster of at least this size; without an autoscaler nothing happens.

    Errors are logged as warnings, because the nodes that are up can work.

    Args:
        resources: Arguments of ``request_resources``.
    """
    try:
        request_resources(**resources)
    except Exception as error:  # whatever the error, the nodes that are up can work
        log.warning("the request for nodes to the autoscaler failed: %s", error)


def resources_of_worker(node: NodeCapacity, workers: int, per_gpu: int) -> dict[str, float]:
    """Return Ray's resources for each new worker on a node.

    The cores are free on the node, whatever else runs there.

    Args:
        node: The node.
        workers: Number of new workers.
        per_gpu: Slots per GPU.

    Returns:
        ``num_cpus``, at most 1 and rounded down to hundredths, and ``num_gpus`` on a node with
        GPUs.
    """
    free = available_resources_per_node().get(node.node_id, {}).get("CPU", 0.0)
    cores = max(0.0, free - SPARE_CORES) / workers
    asked = {"num_cpus": min(1.0, math.floor(cores * 100) / 100)}
    if node.gpus:
        asked["num_gpus"] = math.floor(1e4 / per_gpu) / 1e4
    return asked


def _spread(total: int, weights: Mapping[str, float], limits: Mapping[str, int]) -> dict[str, int]:
    """Spread ``total`` slots over nodes in proportion to their weights, within their limits."""
    counts = dict.fromkeys(weights, 0)
    queue = [(1 / weight, node) for node, weight in weights.items() if weight > 0]
    heapq.heapify(queue)
    while queue and total > 0:
        _, node = heapq.heappop(queue)
        if counts[node] < limits[node]:
            counts[node] += 1
            total -= 1
            heapq.heappush(queue, ((counts[node] + 1) / weights[node], node))
    return counts
