"""Errors after which a process cannot use its device again."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from segtransfer.tasks.batching import is_out_of_memory

SIGNS = ("CUDA error", "HIP error", "device-side assert", "CUBLAS_STATUS", "CUDNN_STATUS")
# Signs of memory that ran out: the same libraries work again once memory is free.
OUT_OF_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def is_poisoned(error: BaseException) -> bool:
    """Tell whether an error means a lost context of the device.

    Args:
        error: Any exception; its causes are examined, too.

    Returns:
        True if the process must be replaced; False for a lack of memory.
    """
    return any(_loses_context(link) for link in _chain(error))


def _loses_context(error: BaseException) -> bool:
    text = str(error)
    if not isinstance(error, RuntimeError) or is_out_of_memory(error):
        return False
    if any(sign in text for sign in OUT_OF_MEMORY):
        return False
    # AcceleratorError is missing from the oldest supported torch.
    if isinstance(error, getattr(torch, "AcceleratorError", ())):
        return True
    return any(sign in text for sign in SIGNS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, because models wrap the errors of their libraries."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
