"""Micro-batches of a shard: uploaded as bytes, and halved if memory runs out."""

import logging
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch

log = logging.getLogger(__name__)
BatchResult = TypeVar("BatchResult")


def in_micro_batches(
    work: Callable[[slice], BatchResult], count: int, micro_batch: int
) -> list[BatchResult]:
    """Call ``work`` on consecutive slices that cover 0 .. ``count``.

    If memory runs out, the micro-batch is halved for the failed slice and all later slices.
    Finished slices are kept.

    Args:
        work: Called with each slice.
        count: The number of images.
        micro_batch: The largest length of a slice.

    Returns:
        The results of ``work``, in order.

    Raises:
        RuntimeError: The allocator's error, if memory does not suffice for one image.
    """
    results: list[BatchResult] = []
    first = 0
    while first < count:
        part = slice(first, min(first + micro_batch, count))
        size = part.stop - part.start
        try:
            results.append(work(part))
        except RuntimeError as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        else:
            first = part.stop
            continue
        # Out here the error, its frames and their tensors are gone, so that memory can be returned.
        micro_batch = size // 2
        log.warning("out of memory with %d images at once: going on with %d", size, micro_batch)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return results


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error means that a device, or this machine, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return "DefaultCPUAllocator: can't allocate memory" in str(error)


def upload(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy an array to ``device`` in its own type, so bytes travel as bytes.

    A GPU reads pinned memory by itself, so this call returns before the copy ends. Nothing is
    fetched ahead; evaluation waits for each micro-batch before it uploads the next.
    """
    pinned = device.type == "cuda"
    return torch.tensor(array, pin_memory=pinned).to(device, non_blocking=pinned)
