"""Adapter for importable callables that return a torch segmentation module."""

import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from typing_extensions import override

from segtransfer.errors import InputError
from segtransfer.tasks.models.base import Segmenter, freeze
from segtransfer.tasks.models.builds import check_build, hash_of_build, take_build
from segtransfer.tasks.models.checkpoint import (
    Checkpoint,
    describe_mismatch,
    load_checkpoint,
    select,
)
from segtransfer.tasks.models.claims import classes_of
from segtransfer.tasks.models.files import sha256_of
from segtransfer.tasks.models.info import ModelInfo
from segtransfer.tasks.models.outputs import foreign_error
from segtransfer.tasks.models.spec import ModelSpec, TorchSource
from segtransfer.tasks.models.weights import fetch
from segtransfer.tasks.randomness import seeded
from segtransfer.tasks.user_code import find_function, source_hash

ADAPTER_VERSION = 2


class TorchSegmenter(Segmenter):
    """A module with RGB images in [0, 1] as input and logits as output.

    Logits are at the images' resolution, or a classifier's N x K.
    """

    def __init__(self, module: nn.Module, *, classifier: bool = False) -> None:
        super().__init__()
        self.classifier = classifier
        self.module = module
        self.size_divisor = int(getattr(module, "size_divisor", 1))
        self.num_classes = int(module.num_classes)  # type: ignore[arg-type]

    @override
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        return self.module(images)


def load(spec: ModelSpec, device: str = "cpu") -> Segmenter:
    """Call the callable, load the weights of the spec if any, and freeze the module.

    Args:
        spec: The model, with ``torch``.
        device: A torch device.

    Returns:
        The model on ``device``.

    Raises:
        InputError: If the callable cannot be imported, raises an error, or returns no module with
            ``num_classes``; or if the weights do not fit.
        ServerError: If the server of the weights fails or cannot be reached.
    """
    source = _source(spec)
    module = take_build(_text(source)) or _build(spec)
    if source.weights is not None:
        _load_weights(spec, module)
    return freeze(TorchSegmenter(module, classifier=source.classifier)).to(device)


def import_callable(spec: ModelSpec) -> None:
    """Import the callable.

    Args:
        spec: The model, with ``torch``.

    Raises:
        InputError: If the import fails.
    """
    _own(spec, find_function)


def check(spec: ModelSpec) -> None:
    """Check that the callable builds the same module as for the description.

    With ``weights``, the file is read, and nothing is built.

    Args:
        spec: The model, with ``torch``.

    Raises:
        InputError: If the callable cannot be imported, or builds other weights; or if the file is
            no state dict.
    """
    import_callable(spec)
    source = _source(spec)
    if source.weights is not None:
        _state(spec)
        return
    check_build(_text(source), lambda: _build(spec), spec.name, source.callable)


def describe(spec: ModelSpec) -> ModelInfo:
    """Return the description; the fingerprint covers code, arguments, windows and weights.

    The weights are the spec's file, or else the state of the module, which is built.

    Args:
        spec: The model, with ``torch``.

    Returns:
        The description. ``backbone`` is the spec's or the callable's name. ``classes`` are the
        spec's, or else the names in the file of weights, or else None; then ``num_classes`` is the
        built module's, or None if nothing was built.

    Raises:
        InputError: As ``load``.
    """
    source = _source(spec)
    files = _own(spec, source_hash)
    count: int | None = None
    if source.weights is not None:
        weights = sha256_of(fetch(source.weights, source.sha256))
    else:
        module: Any = _build(spec)
        weights = hash_of_build(_text(source), module, spec.name)
        count = int(module.num_classes)
    names = classes(spec)
    identity = [ADAPTER_VERSION, source.callable, source.arguments, files, weights]
    if spec.inference is not None and spec.inference.window is not None:
        identity.append(spec.inference.window)
    if source.classifier:
        identity.append("classifier")
    return ModelInfo(
        name=spec.name,
        fingerprint=hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
        backbone=spec.backbone or source.callable,
        num_classes=len(names) if names else count,
        classes=names,
        classifier=source.classifier,
    )


def classes(spec: ModelSpec) -> tuple[str, ...] | None:
    """Return the class names of the spec, or else of the file of weights.

    Args:
        spec: The model, with ``torch``.

    Returns:
        Names by index, or None if unknown.

    Raises:
        InputError: If the file cannot be read, or holds contradictory class lists.
    """
    source = _source(spec)
    if spec.classes is not None or source.weights is None:
        return spec.classes
    try:
        return classes_of(_checkpoint(spec).meta)
    except InputError as error:
        raise InputError(f"model '{spec.name}': weights {source.weights}: {error}") from error


def _build(spec: ModelSpec) -> nn.Module:
    """Call the callable, with global generators in a fixed state.

    Raises:
        InputError: If the callable raises an error, or returns no module with ``num_classes``.
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
            f"model '{spec.name}': {source.callable} returned {type(module).__name__} without a "
            "positive num_classes; return a torch module with the attribute num_classes"
        )
    return module


def _counts(value: Any) -> bool:
    try:
        return int(value) > 0
    except (TypeError, ValueError):
        return False


def _load_weights(spec: ModelSpec, module: nn.Module) -> None:
    """Load the state dict of the spec into a module.

    Raises:
        InputError: If keys or shapes differ from the module's.
    """
    source = _source(spec)
    expected = {k: v for k, v in module.state_dict().items() if torch.is_tensor(v)}
    try:
        state = select(expected, _state(spec))
    except InputError as error:
        raise InputError(f"model '{spec.name}': weights {source.weights}: {error}") from error
    if problem := describe_mismatch(expected, state):
        raise InputError(
            f"model '{spec.name}': weights {source.weights} do not fit the module of "
            f"{source.callable}: {problem}; give the weights of this network"
        )
    module.load_state_dict(state, strict=False)


def _state(spec: ModelSpec) -> dict[str, torch.Tensor]:
    return dict(_checkpoint(spec).state)


def _checkpoint(spec: ModelSpec) -> Checkpoint:
    source = _source(spec)
    try:
        return load_checkpoint(fetch(str(source.weights), source.sha256))
    except InputError as error:
        reason = str(error).partition("; ")[0]
        raise InputError(
            f"model '{spec.name}': {reason}; give torch.weights as a state dict of tensors, in a "
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
