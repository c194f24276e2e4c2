"""Micro-batches of a shard, as large as memory allows, uploaded as bytes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch

from segtransfer.tasks.memory import peak_since, room, start_of_peak

LARGE = 2**19  # pixels per image; from this size on, memory is measured first
MARGIN = 0.8  # of the free memory: later steps of an attack may feed larger images
log = logging.getLogger(__name__)
BatchResult = TypeVar("BatchResult")


def in_micro_batches(
    work: Callable[[slice], BatchResult],
    count: int,
    micro_batch: int,
    fitting: Callable[[Callable[[], BatchResult], int], tuple[BatchResult, int]] | None = None,
) -> list[BatchResult]:
    """Call ``work`` on consecutive slices of 0 .. ``count``.

    If memory runs out, the micro-batch is halved for the failed slice and all later slices.
    Finished slices are kept.

    Args:
        work: Called with each slice.
        count: The number of images.
        micro_batch: The largest length of a slice.
        fitting: A function of a call (``work`` on the first image) and a micro-batch. It makes the
            call, and returns the result and a micro-batch within memory. None skips the measure.

    Returns:
        The results of ``work``, in order.

    Raises:
        RuntimeError: The allocator's error, if memory does not suffice for a single image.
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
        # Outside the handler, the error with its frames and tensors is freed before memory is
        # returned.
        micro_batch = size // 2
        log.warning(
            "out of memory with %d images per forward; trying %d per forward", size, micro_batch
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return results


def fitting_memory(
    images: np.ndarray, device: torch.device
) -> Callable[[Callable[[], BatchResult], int], tuple[BatchResult, int]] | None:
    """Return the argument ``fitting`` of ``in_micro_batches``, which measures the peak of memory.

    The system kills a process with too much of the machine's memory, without an error that could
    halve the micro-batch. So the memory of a large image is measured first.

    Args:
        images: N x 3 x H x W.
        device: The device whose memory is measured.

    Returns:
        A function; None for images of less than 2^19 pixels, because a few always fit.
    """
    if images.shape[2] * images.shape[3] < LARGE:
        return None

    def measured(work: Callable[[], BatchResult], micro_batch: int) -> tuple[BatchResult, int]:
        base = start_of_peak(device.type)
        result = work()
        peak = peak_since(base, device.type)
        most = max(1, int(MARGIN * room(device.type)) // peak) if peak else micro_batch
        if most < micro_batch:
            log.info("memory suffices for %d images per forward, not %d", most, micro_batch)
        return result, min(most, micro_batch)

    return measured


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error means a lack of memory.

    Args:
        error: An error of torch.

    Returns:
        True for a device's memory and for this machine's.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return "DefaultCPUAllocator: can't allocate memory" in str(error)


def upload(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy an array to a device in its own type, so bytes are sent as bytes.

    To a GPU the copy is asynchronous, from pinned memory: the call returns before the copy ends.

    Args:
        array: Any numeric array.
        device: The device of the result.

    Returns:
        A tensor of the array's shape and type.
    """
    pinned = device.type == "cuda"
    return torch.tensor(array, pin_memory=pinned).to(device, non_blocking=pinned)
