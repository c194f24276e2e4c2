"""Numbers of slots per GPU and per machine, for both the planner and the Ray executor."""

import math
from collections.abc import Sequence
from itertools import accumulate

import torch

from segtransfer.experiment.runtime_spec import Fleet

WORKER_BYTES = 1.5e9  # bytes of memory per worker on a CPU node
MOST_PER_GPU = 8  # slots per GPU if neither their number is given nor the models are measured
# Bytes of GPU memory of a process beside torch's, and the share of a GPU's memory kept free for
# fragments and libraries' workspaces. Both are assumed, not measured.
CONTEXT_BYTES = 600 * 2**20
RESERVE = 0.1


def pick_slots_per_gpu(
    fleet: Fleet,
    gpus: int,
    models: int,
    peaks: Sequence[int] = (),
    gpu_bytes: int | None = None,
) -> int:
    """Return the fleet's slots per GPU, else as many as keep every model loaded and fit.

    Args:
        fleet: The fleet's spec.
        gpus: Number of GPUs.
        models: Number of models to host.
        peaks: Peak GPU memory of each model in bytes; empty unless all were measured.
        gpu_bytes: Memory of the smallest GPU in bytes; None if unknown.

    Returns:
        At least 1, and at most ``MOST_PER_GPU`` if the memory of models or GPUs is unknown.
    """
    if fleet.slots_per_gpu != "auto":
        return fleet.slots_per_gpu
    wanted = max(1, math.ceil(models / gpus)) if gpus else 1
    if not peaks or gpu_bytes is None:
        return min(MOST_PER_GPU, wanted)
    return min(wanted, slots_that_fit(peaks, gpu_bytes))


def slots_that_fit(peaks: Sequence[int], gpu_bytes: int) -> int:
    """Return how many models fit on a GPU together, whichever they are.

    k models fit if the k largest peaks and k contexts stay within the memory beside the reserve.

    Args:
        peaks: Peak GPU memory of each model in bytes.
        gpu_bytes: Memory of the GPU in bytes.

    Returns:
        From 1 to the number of models.
    """
    needs = accumulate(peak + CONTEXT_BYTES for peak in sorted(peaks, reverse=True))
    return max(1, sum(need <= (1 - RESERVE) * gpu_bytes for need in needs))


def slots_on_cores(cores: int, models: int, sources: int) -> int:
    """Return a slot per core, or more if more keep every model loaded and every core busy.

    If fewer sources are attacked than there are cores, replicas of them use the other cores.

    Args:
        cores: Number of cores.
        models: Number of models to host.
        sources: Number of these models under attack; 0 adds no replicas.
    """
    replicas = max(0, cores - sources) if sources else 0
    return max(1, cores, models + replicas)


def smallest_gpu() -> int | None:
    """Return the memory of the smallest GPU of this process.

    Returns:
        Bytes, or None without a GPU.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    sizes = [torch.cuda.get_device_properties(number).total_memory for number in range(count)]
    return min(sizes, default=None)
