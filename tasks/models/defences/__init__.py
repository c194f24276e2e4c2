"""Defences at inference: wrappers around a loaded model, part of its identity."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo, WithJsonSchema

from segtransfer.tasks.json_schema import NAMED_ENTRY
from segtransfer.tasks.models.base import ModelInfo, Segmenter, freeze
from segtransfer.tasks.models.defences.base import (
    DEFENCES,
    DefenceSpec,
    DefendedSegmenter,
    ForeignDefence,
)
from segtransfer.tasks.registry import read_entry


def _read(value: Any, info: ValidationInfo) -> Any:
    """Accept ``{bits: 4}`` beside ``{bits: {bits: 4}}``."""
    if isinstance(value, dict) and len(value) == 1:
        kind, fields = next(iter(value.items()))
        entry = DEFENCES.get(kind) if isinstance(kind, str) else None
        if entry and entry.short and fields is not None and not isinstance(fields, dict):
            value = {kind: {entry.short: fields}}
    return read_entry(DEFENCES, ForeignDefence, value, info.context)


Defence = Annotated[
    SerializeAsAny[DefenceSpec], BeforeValidator(_read), WithJsonSchema(NAMED_ENTRY)
]


def apply(model: Segmenter, defences: Sequence[DefenceSpec]) -> Segmenter:
    """Put defences around a model; the first acts on the image first.

    Args:
        model: The model.
        defences: The defences, in the order of the spec.

    Returns:
        The model itself without defences, else a frozen model around it.
    """
    for defence in reversed(defences):
        model = freeze(DefendedSegmenter(model, defence))
    return model


def describe(info: ModelInfo, defences: Sequence[DefenceSpec]) -> ModelInfo:
    """Return the description of a model with defences.

    Args:
        info: The description without defences.
        defences: The defences, in the order of the spec.

    Returns:
        The same description without defences; else with a fingerprint that covers the fields and
        the version of each defence, and with the network's own fingerprint in ``undefended``.
    """
    if not defences:
        return info
    parts = [[defence.version, defence.identity_fields()] for defence in defences]
    text = json.dumps([info.fingerprint, "defences", parts], sort_keys=True)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    return replace(info, fingerprint=fingerprint, undefended=(info.fingerprint,))


def import_code(defences: Sequence[DefenceSpec]) -> None:
    """Import the code of defences of packages and of the user.

    Args:
        defences: The defences.

    Raises:
        InputError: If code is missing or has another hash.
    """
    for defence in defences:
        defence.typed()
