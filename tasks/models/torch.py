"""Adapter for any importable callable that returns a torch segmentation module."""

import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from segtransfer.errors import InputError
from segtransfer.tasks.models.base import ModelInfo, Segmenter, freeze
from segtransfer.tasks.models.builds import check_build, hash_of_build, take_build
from segtransfer.tasks.models.checkpoint import (
    Checkpoint,
    describe_mismatch,
    load_checkpoint,
    select,
    sha256_of,
)
from segtransfer.tasks.models.claims import classes_of
from segtransfer.tasks.models.outputs import foreign_error
from segtransfer.tasks.models.spec import ModelSpec, TorchSource
from segtransfer.tasks.models.weights import fetch
from segtransfer.tasks.randomness import seeded
from segtransfer.tasks.user_code import find_function, source_hash

ADAPTER_VERSION = 2


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
    """Call the callable, load its weights if the spec names any, freeze it, move it to ``device``.

    Raises:
        InputError: If the callable cannot be imported, raises an error, or returns no module with
            ``num_classes``; or if the weights do not fit.
    """
    source = _source(spec)
    module = take_build(_text(source)) or _build(spec)
    if source.weights is not None:
        _load_weights(spec, module)
    return freeze(TorchSegmenter(module)).to(device)


def import_callable(spec: ModelSpec) -> None:
    """Import the callable.

    Raises:
        InputError: If it cannot be imported.
    """
    _own(spec, find_function)


def check(spec: ModelSpec) -> None:
    """Check that the callable builds the same module as when it was described.

    With ``weights``, nothing is built; the file is read.

    Raises:
        InputError: If it cannot be imported, or builds other weights; or the file is no state dict.
    """
    import_callable(spec)
    source = _source(spec)
    if source.weights is not None:
        _state(spec)
        return
    check_build(_text(source), lambda: _build(spec), spec.name, source.callable)


def describe(spec: ModelSpec) -> ModelInfo:
    """Return the fingerprint: the callable's files and arguments, windows, and weights.

    The weights are the file that the spec names, or else the state of the module, which is built.

    Raises:
        InputError: As ``load``.
    """
    source = _source(spec)
    files = _own(spec, source_hash)
    if source.weights is not None:
        weights = sha256_of(fetch(source.weights, source.sha256))
    else:
        weights = hash_of_build(_text(source), lambda: _build(spec), spec.name)
    names = classes(spec)
    identity = [ADAPTER_VERSION, source.callable, source.arguments, files, weights]
    if spec.inference is not None and spec.inference.window is not None:
        identity.append(spec.inference.window)
    return ModelInfo(
        name=spec.name,
        fingerprint=hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
        backbone=spec.backbone or source.callable,
        num_classes=len(names) if names else None,
        classes=names,
    )


def classes(spec: ModelSpec) -> tuple[str, ...] | None:
    """Return the class names of the spec, else of the file of weights, if there are any.

    Raises:
        InputError: If the names in the file are no class list.
    """
    source = _source(spec)
    if spec.classes is not None or source.weights is None:
        return spec.classes
    try:
        return classes_of(_checkpoint(spec).meta)
    except InputError as error:
        raise InputError(f"model '{spec.name}': weights {source.weights}: {error}") from error


def _build(spec: ModelSpec) -> nn.Module:
    """Call the callable, with global generators that are always seeded alike.

    Raises:
        InputError: If it raises an error, or returns no module with ``num_classes``.
    """
    source, function = _source(spec), _own(spec, find_function)
    given = ", ".join(f"{name}={value!r}" for name, value in source.arguments.items())
    try:
        with seeded("build"):
            module = function(**copy.deepcopy(source.arguments))
    except Exception as error:  # foreign code may raise anything
        told = foreign_error(error, f"{source.callable}({given})")
        if told is not error or isinstance(error, InputError):
            raise InputError(f"model '{spec.name}': {told}") from error
        raise
    if not isinstance(module, nn.Module) or not _counts(getattr(module, "num_classes", None)):
        raise InputError(
            f"model '{spec.name}': {source.callable} must return a torch module with an "
            f"attribute num_classes, it returned {type(module).__name__}"
        )
    return module


def _counts(value: Any) -> bool:
    try:
        return int(value) > 0
    except (TypeError, ValueError):
        return False


def _load_weights(spec: ModelSpec, module: nn.Module) -> None:
    """Load the state dict that the spec names into a module.

    Raises:
        InputError: If its keys or shapes are not those of the module.
    """
    source = _source(spec)
    expected = {k: v for k, v in module.state_dict().items() if torch.is_tensor(v)}
    try:
        state = select(expected, _state(spec))
    except InputError as error:
        raise InputError(f"model '{spec.name}': weights {source.weights}: {error}") from error
    if problem := describe_mismatch(expected, state):
        raise InputError(
            f"model '{spec.name}': weights {source.weights} do not fit the module that "
            f"{source.callable} returns: {problem}"
        )
    module.load_state_dict(state, strict=False)


def _state(spec: ModelSpec) -> dict[str, torch.Tensor]:
    return dict(_checkpoint(spec).state)


def _checkpoint(spec: ModelSpec) -> Checkpoint:
    source = _source(spec)
    try:
        return load_checkpoint(fetch(str(source.weights), source.sha256))
    except InputError as error:
        reason = str(error).partition("; if you trust")[0]
        raise InputError(
            f"model '{spec.name}': {reason}; torch.weights is a state dict of tensors, in a "
            "safetensors file or saved by torch.save"
        ) from error


def _source(spec: ModelSpec) -> TorchSource:
    assert spec.torch is not None
    return spec.torch


def _text(source: TorchSource) -> str:
    """Return callable and arguments as JSON."""
    return json.dumps([source.callable, source.arguments], sort_keys=True)


def _own(spec: ModelSpec, read: Callable[[str], Any]) -> Any:
    """Return ``read`` of the callable; an error names the model."""
    try:
        return read(_source(spec).callable)
    except InputError as error:
        raise InputError(f"model '{spec.name}': {error}") from error
