"""Settings of float32 precision, each in a process of its own, because they are the process's."""

import os
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import backends

from segtransfer.tasks.float32 import _operations, kept_precision, use_full_precision

SETTINGS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "flags": lambda: (
        setattr(backends.cudnn, "allow_tf32", True),
        setattr(backends.cuda.matmul, "allow_tf32", True),
    ),
    "flag off": lambda: setattr(backends.cudnn, "allow_tf32", False),
    "matmul high": lambda: torch.set_float32_matmul_precision("high"),
    "matmul medium": lambda: torch.set_float32_matmul_precision("medium"),
    "all": lambda: setattr(backends, "fp32_precision", "tf32"),
    "cuDNN": lambda: setattr(backends.cudnn, "fp32_precision", "tf32"),
    "CUDA matmul": lambda: setattr(backends.cuda.matmul, "fp32_precision", "tf32"),
    "oneDNN matmul": lambda: setattr(backends.mkldnn.matmul, "fp32_precision", "bf16"),
}
pytestmark = pytest.mark.skipif(
    not hasattr(backends, "fp32_precision"), reason="torch before 2.9 has flags alone"
)


def in_fork(function: Callable[[], Any]) -> Any:
    """What a function returns in a copy of this process, which then ends."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(writer, pickle.dumps(function()))
        finally:  # also after an error, for which the parent finds nothing to read
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        answer = pickle.load(file)
    os.waitpid(child, 0)
    return answer


def told(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except RuntimeError:
        return "unreadable"


def settings() -> list[Any]:
    flags = [
        told(lambda: backends.cudnn.allow_tf32),
        told(lambda: backends.cuda.matmul.allow_tf32),
        told(torch.get_float32_matmul_precision),
    ]
    return [*flags, *(operation.fp32_precision for operation in _operations())]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_operation_has_full_precision_and_every_flag_is_readable(name: str) -> None:
    def found() -> list[Any]:
        SETTINGS[name]()
        use_full_precision()
        return settings()

    assert in_fork(found) == [False, False, "highest"] + ["ieee"] * 6


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_the_process_are_restored(name: str) -> None:
    def found() -> tuple[list[Any], list[Any]]:
        SETTINGS[name]()
        before = settings()
        with kept_precision():
            use_full_precision()
        return before, settings()

    before, after = in_fork(found)
    assert before == after


def test_inherited_settings_follow_their_parent_after_the_block() -> None:
    def found() -> set[str]:
        backends.fp32_precision = "tf32"
        with kept_precision():
            use_full_precision()
        backends.fp32_precision = "ieee"
        return {operation.fp32_precision for operation in _operations()}

    assert in_fork(found) == {"ieee"}


def test_settings_are_restored_after_an_error() -> None:
    def fail() -> None:
        with kept_precision():
            use_full_precision()
            raise KeyError

    def found() -> tuple[list[Any], list[Any]]:
        torch.set_float32_matmul_precision("high")
        before = settings()
        with pytest.raises(KeyError):
            fail()
        return before, settings()

    before, after = in_fork(found)
    assert before == after
    assert before[2] == "high"
