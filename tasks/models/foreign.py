"""Adapter for models of a registered ``AdapterSpec``."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, cast

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.file_hash import content_hash
from segtransfer.tasks.models.adapter_spec import ADAPTERS, AdapterSpec
from segtransfer.tasks.models.base import Segmenter, freeze
from segtransfer.tasks.models.builds import check_build, hash_of_build, take_build
from segtransfer.tasks.models.info import ModelInfo
from segtransfer.tasks.models.outputs import foreign_error
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.randomness import seeded

ADAPTER_VERSION = 1


def load(spec: ModelSpec, device: str = "cpu") -> Segmenter:
    """Load a model, frozen.

    Args:
        spec: The model, with ``adapter``.
        device: A torch device.

    Returns:
        The model on ``device``.

    Raises:
        InputError: If the adapter's code is missing, raises an error, or returns no ``Segmenter``.
    """
    module = cast(Segmenter, take_build(_recipe(spec)) or _build(spec))
    return freeze(module).to(device)


def import_code(spec: ModelSpec) -> None:
    """Import the adapter's code.

    Args:
        spec: The model, with ``adapter``.

    Raises:
        InputError: If the code is missing or has another hash.
    """
    _adapter(spec).typed()


def check(spec: ModelSpec) -> None:
    """Check that the adapter loads the same model as for the description.

    Args:
        spec: The model, with ``adapter``.

    Raises:
        InputError: As ``load``, or if the weights differ.
    """
    check_build(_recipe(spec), lambda: _build(spec), spec.name, _adapter(spec).kind)


def describe(spec: ModelSpec) -> ModelInfo:
    """Return the description; the fingerprint covers code, fields, windows and weights.

    Args:
        spec: The model, with ``adapter``, which is loaded once.

    Returns:
        The description; ``classes`` are the spec's. Without these ``num_classes`` is the model's.

    Raises:
        InputError: As ``load``.
    """
    kind = _adapter(spec).kind
    built = _build(spec)
    weights = hash_of_build(_recipe(spec), built, spec.name)
    identity = [ADAPTER_VERSION, kind, ADAPTERS.code_hash(kind), _fields(spec), weights]
    if spec.inference is not None and spec.inference.window is not None:
        identity.append(spec.inference.window)
    return ModelInfo(
        name=spec.name,
        fingerprint=hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
        backbone=spec.backbone or kind,
        num_classes=len(spec.classes) if spec.classes else built.num_classes,
        classes=spec.classes,
        classifier=built.classifier,
    )


def classes(spec: ModelSpec) -> tuple[str, ...] | None:
    """Return the class names of the spec, or None."""
    return spec.classes


def _build(spec: ModelSpec) -> Segmenter:
    """Load the model, with global generators in a fixed state."""
    adapter = _adapter(spec)
    try:
        with seeded("build"):
            model: Any = adapter.load()
    except Exception as error:  # foreign code may raise anything
        told = foreign_error(error, f"adapter {adapter.kind}")
        if told is not error or isinstance(error, InputError):
            raise InputError(f"model '{spec.name}': {told}") from error
        raise
    if not isinstance(model, Segmenter):
        raise InputError(
            f"model '{spec.name}': adapter {adapter.kind} returned {type(model).__name__}; "
            "return a segtransfer.extend.Segmenter"
        )
    if not isinstance(getattr(model, "num_classes", None), int):
        raise InputError(
            f"model '{spec.name}': the Segmenter of adapter {adapter.kind} has no num_classes; "
            "set it to the number of channels of the logits"
        )
    return model


def _fields(spec: ModelSpec) -> dict[str, Any]:
    """Return the fields of the adapter, with the hash of its content in place of each path."""
    content = _adapter(spec).identity_fields(exclude={"kind", "sha256"})
    return {name: _content(value) for name, value in content.items()}


def _content(value: Any) -> Any:
    if isinstance(value, str) and os.path.isabs(value) and os.path.exists(value):
        return content_hash(Path(value))
    return value


def _recipe(spec: ModelSpec) -> str:
    return json.dumps(_adapter(spec).model_dump(mode="json"), sort_keys=True)


def _adapter(spec: ModelSpec) -> AdapterSpec:
    assert spec.adapter is not None
    return spec.adapter
