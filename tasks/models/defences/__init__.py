"""Defences at inference: wrappers around a loaded model, part of its identity."""

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo, WithJsonSchema

from segtransfer.tasks.json_schema import NAMED_ENTRY
from segtransfer.tasks.models.defences.base import DEFENCES, DefenceSpec, ForeignDefence
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
