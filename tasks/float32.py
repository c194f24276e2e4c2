"""Full precision of float32 operations: no TF32, and no bfloat16 inside an operation.

torch has two kinds of settings for this, flags such as ``allow_tf32``, and since 2.9
``fp32_precision`` per library and operation. A process that used the other kind before may fail to
read a flag, so both kinds are set.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import backends

Setting = TypeVar("Setting")


def use_full_precision() -> None:
    """Compute float32 operations in float32, whatever the settings of the process."""
    torch.set_float32_matmul_precision("highest")
    backends.cudnn.allow_tf32 = False
    for operation in _operations():
        operation.fp32_precision = "ieee"


@contextmanager
def kept_precision() -> Iterator[None]:
    """Restore the precision settings of the process after the block."""
    cudnn = _readable(lambda: backends.cudnn.allow_tf32)
    matmul = _readable(torch.get_float32_matmul_precision)
    of_operations = [(operation, operation.fp32_precision) for operation in _operations()]
    try:
        yield
    finally:
        if cudnn is not None:
            backends.cudnn.allow_tf32 = cudnn
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        for operation, precision in of_operations:
            # An inherited setting stays inherited, so that a later setting of its parent counts.
            operation.fp32_precision = "none"
            if operation.fp32_precision != precision:
                operation.fp32_precision = precision


def _operations() -> list[Any]:
    """Return torch's settings per library and operation; none before torch 2.9."""
    if not hasattr(backends, "fp32_precision"):
        return []
    of_libraries = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)  # type: ignore[attr-defined]
    mkldnn = backends.mkldnn
    return [*of_libraries, mkldnn.conv, mkldnn.rnn, mkldnn.matmul]  # type: ignore[attr-defined]


def _readable(read: Callable[[], Setting]) -> Setting | None:
    """Return a setting, or None if torch refuses because of a mixture of both kinds."""
    try:
        return read()
    except RuntimeError:
        return None
