"""How many slots share a GPU, and how many workers a machine's memory carries: what the planner and
the Ray executor must agree on."""

import math
from collections.abc import Sequence
from itertools import accumulate

import torch

from segtransfer.experiment.spec import Fleet

WORKER_BYTES = 1.5e9  # of a CPU node's memory that one worker may need
MOST_PER_GPU = 8  # slots on a GPU where nobody gave their number or measured the models
# What a process takes of a GPU beside torch's memory, and the share of a GPU that nobody plans
# with: fragments, libraries' workspaces. Assumed; not measured on a GPU.
CONTEXT_BYTES = 600 * 2**20
RESERVE = 0.1


def pick_slots_per_gpu(
    fleet: Fleet,
    gpus: int,
    models: int,
    peaks: Sequence[int] = (),
    gpu_bytes: int | None = None,
) -> int:
    """As the fleet says; else as many as let every model stay loaded and as fit, at least one.

    ``peaks`` are bytes that each of the models took at most, empty where not all were measured;
    ``gpu_bytes`` is the memory of a GPU, of the smallest where they differ.
    """
    if fleet.slots_per_gpu != "auto":
        return fleet.slots_per_gpu
    wanted = max(1, math.ceil(models / gpus)) if gpus else 1
    if not peaks or gpu_bytes is None:
        return min(MOST_PER_GPU, wanted)
    return min(wanted, slots_that_fit(peaks, gpu_bytes))


def slots_that_fit(peaks: Sequence[int], gpu_bytes: int) -> int:
    """How many models fit side by side on a GPU whichever they are, so the largest; at least one.

    k of them fit where their peaks and k contexts stay within what the reserve leaves.
    """
    needs = accumulate(peak + CONTEXT_BYTES for peak in sorted(peaks, reverse=True))
    return max(1, sum(need <= (1 - RESERVE) * gpu_bytes for need in needs))


def slots_on_cores(cores: int, models: int, sources: int) -> int:
    """A slot a core, or more: every model stays loaded, and where fewer ``sources`` are attacked
    than there are cores, there is room for replicas of theirs on all cores."""
    replicas = max(0, cores - sources) if sources else 0
    return max(1, cores, models + replicas)


def smallest_gpu() -> int | None:
    """Bytes of the smallest GPU that this process sees, None without one."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    sizes = [torch.cuda.get_device_properties(number).total_memory for number in range(count)]
    return min(sizes, default=None)
