"""Allocation of slots to the nodes of a cluster, and the request for missing nodes."""

import time
from collections import Counter
from collections.abc import Sequence

from segtransfer.experiment.runtime_spec import Fleet
from segtransfer.runtime.executors.ray.nodes import (
    NodeCapacity,
    NodeRequest,
    count_slots,
    missing_resources,
    resources_of_worker,
    share_gpus,
)
from segtransfer.runtime.executors.ray.slot import RaySlot
from segtransfer.runtime.executors.slot_sizing import pick_slots_per_gpu
from segtransfer.runtime.scheduler import Slot


class SlotAllocator:
    """Allocates slots to nodes, as the fleet's spec and the expected models demand.

    Args:
        fleet: The spec of the fleet.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._models, self._sources = 0, 0
        self._peaks: Sequence[int] = ()
        self._per_gpu: int | None = None
        self._numbers: Counter[str] = Counter()  # node id -> number of slots allocated so far
        self._nodes: set[str] = set()  # ids of the nodes at the last allocation
        self._request = NodeRequest()

    def expect(self, models: int, sources: int, peaks: Sequence[int]) -> None:
        """Raise the expected numbers of models and sources; neither ever falls.

        Args:
            models: Number of models to host.
            sources: Number of these models under attack.
            peaks: Peak GPU memory of each model in bytes; empty unless all were measured.
        """
        self._peaks = peaks
        self._models = max(self._models, models, 1)
        self._sources = max(self._sources, sources)

    def nodes_changed(self, nodes: Sequence[NodeCapacity]) -> bool:
        """Return whether nodes have joined or died since the last allocation."""
        return {node.node_id for node in nodes} != self._nodes

    def allocate(
        self, nodes: Sequence[NodeCapacity], slots: Counter[str], *, everywhere: bool
    ) -> list[RaySlot]:
        """Return new slots, without workers, for nodes with fewer slots than their share.

        The number of slots per GPU is decided once, when the first node with GPUs is seen. Nodes
        may be asked for the memory of their GPUs then, which blocks.

        Args:
            nodes: All alive nodes.
            slots: Number of current slots by node id.
            everywhere: Whether all nodes get slots, or only nodes that joined since the last
                allocation.

        Returns:
            The slots, none of which is up.
        """
        if self._per_gpu is None and any(node.gpus for node in nodes):
            self._per_gpu = share_gpus(self._fleet, nodes, self._models, self._peaks)
        per_gpu = self._slots_per_gpu()
        counts = count_slots(self._fleet, nodes, self._models, self._sources, per_gpu)
        room = float("inf") if self._fleet.slots == "auto" else self._fleet.slots - slots.total()
        allocated: list[RaySlot] = []
        for node in nodes:
            new = int(min(counts[node.node_id] - slots[node.node_id], room))
            if new > 0 and (everywhere or node.node_id not in self._nodes):
                room -= new
                allocated += self._new_slots(node, new, counts[node.node_id], per_gpu)
        self._nodes = {node.node_id for node in nodes}
        return allocated

    def request_missing(self, nodes: Sequence[NodeCapacity]) -> None:
        """Ask the autoscaler for the nodes that the fleet lacks, or withdraw the request."""
        missing = missing_resources(self._fleet, nodes, self._slots_per_gpu())
        self._request.update(missing, time.monotonic())

    def awaited(self) -> str:
        """Describe the requested nodes.

        Returns:
            A phrase such as "CPUs: 64 in all"; empty if no nodes are requested.
        """
        return str(self._request)

    def _slots_per_gpu(self) -> int:
        """Return the slots per GPU as decided when GPUs were first seen; before, the least."""
        return self._per_gpu or pick_slots_per_gpu(self._fleet, 0, self._models)

    def _new_slots(self, node: NodeCapacity, new: int, slots: int, per_gpu: int) -> list[RaySlot]:
        """Return ``new`` of a node's ``slots`` slots."""
        resources = resources_of_worker(node, new, per_gpu)
        device = f"node-{node.short_id}/{'gpu' if node.gpus else 'cpu'}"
        width = slots if node.gpus else max(1, int(node.cores))
        allocated = []
        for _ in range(new):
            slot_id = f"{node.short_id}-{self._numbers[node.node_id]}"
            self._numbers[node.node_id] += 1
            share = Slot(slot_id, device, width)
            allocated.append(RaySlot(share, node.node_id, resources))
        return allocated
