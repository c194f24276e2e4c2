"""Adapter for any importable callable that returns a torch segmentation module."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from segtransfer.errors import InputError
from segtransfer.tasks.models.base import ModelInfo, Segmenter, freeze
from segtransfer.tasks.models.sliding import with_windows
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.user_code import find_function, source_hash

ADAPTER_VERSION = 1


class TorchSegmenter(Segmenter):
    """A module that already takes RGB in [0, 1] and returns logits at the input's resolution."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.size_divisor = int(getattr(module, "size_divisor", 1))
        self.num_classes = int(module.num_classes)  # type: ignore[arg-type]

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        return self.module(images)


def load(spec: ModelSpec, device: str = "cpu") -> Segmenter:
    """Call the callable, freeze its module and move it to ``device``.

    Raises:
        InputError: If the callable cannot be imported, or returns no module with ``num_classes``.
    """
    assert spec.torch is not None
    module = _own(spec, find_function)(**spec.torch.arguments)
    if not isinstance(module, nn.Module) or not hasattr(module, "num_classes"):
        raise InputError(
            f"model '{spec.name}': {spec.torch.callable} must return a torch module with an "
            f"attribute num_classes, it returned {type(module).__name__}"
        )
    return freeze(with_windows(TorchSegmenter(module), spec.inference)).to(device)


def check(spec: ModelSpec) -> None:
    """Check that the callable can be imported.

    Raises:
        InputError: If it cannot.
    """
    _own(spec, find_function)


def describe(spec: ModelSpec) -> ModelInfo:
    """Return the fingerprint of the callable's file, arguments and windows; it is not called."""
    assert spec.torch is not None
    source = _own(spec, source_hash)
    identity = [ADAPTER_VERSION, spec.torch.callable, spec.torch.arguments, source]
    if spec.inference is not None and spec.inference.window is not None:
        identity.append(spec.inference.window)
    text = json.dumps(identity, sort_keys=True)
    return ModelInfo(
        name=spec.name,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        backbone=spec.backbone or spec.torch.callable,
        num_classes=len(spec.classes) if spec.classes else None,
        classes=spec.classes,
    )


def _own(spec: ModelSpec, read: Callable[[str], Any]) -> Any:
    """Return ``read`` of the callable; an error names the model."""
    assert spec.torch is not None
    try:
        return read(spec.torch.callable)
    except InputError as error:
        raise InputError(f"model '{spec.name}': {error}") from error
