"""Micro-batches of a shard: uploaded as bytes, as large as memory allows."""

import logging
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch

from segtransfer.tasks.memory import peak_since, room, start_of_peak

LARGE = 2**19  # pixels of an image from which on memory is measured first
MARGIN = 0.8  # of the free memory: later steps of an attack may feed larger images
log = logging.getLogger(__name__)
BatchResult = TypeVar("BatchResult")


def in_micro_batches(
    work: Callable[[slice], BatchResult],
    count: int,
    micro_batch: int,
    fitting: Callable[[Callable[[], BatchResult], int], tuple[BatchResult, int]] | None = None,
) -> list[BatchResult]:
    """Call ``work`` on consecutive slices that cover 0 .. ``count``.

    If memory runs out, the micro-batch is halved for the failed slice and all later slices.
    Finished slices are kept.

    Args:
        work: Called with each slice.
        count: The number of images.
        micro_batch: The largest length of a slice.
        fitting: Calls ``work`` on the first image alone, and returns its result and the micro-batch
            that memory has room for, of a wanted one; None if there is room.

    Returns:
        The results of ``work``, in order.

    Raises:
        RuntimeError: The allocator's error, if memory does not suffice for one image.
    """
    results: list[BatchResult] = []
    first = 0
    if fitting is not None and min(count, micro_batch) > 1:
        result, micro_batch = fitting(lambda: work(slice(0, 1)), micro_batch)
        results.append(result)
        first = 1
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


def fitting_memory(
    images: np.ndarray, device: torch.device
) -> Callable[[Callable[[], BatchResult], int], tuple[BatchResult, int]] | None:
    """Return the ``fitting`` of large images, which measures the peak of memory of one image.

    A process that takes too much of a machine's memory is killed without a word, so there is no
    error to halve a micro-batch by.

    Args:
        images: N x 3 x H x W.
        device: The device whose memory the work takes.

    Returns:
        None for images of less than half a megapixel, of which a few always fit.
    """
    if images.shape[2] * images.shape[3] < LARGE:
        return None

    def measured(work: Callable[[], BatchResult], micro_batch: int) -> tuple[BatchResult, int]:
        base = start_of_peak(device.type)
        result = work()
        peak = peak_since(base, device.type)
        most = max(1, int(MARGIN * room(device.type)) // peak) if peak else micro_batch
        if most < micro_batch:
            log.info("memory has room for %d images at once, of %d", most, micro_batch)
        return result, min(most, micro_batch)

    return measured


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
