"""Validation of raw specs, and the message of a wrong spec: one line per wrong field."""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from segtransfer.errors import InputError
from segtransfer.tasks.schema import shorten

AnyModel = TypeVar("AnyModel", bound=BaseModel)
MOST_LINES = 20

# Sentences for pydantic's types of error whose own message speaks of Python.
_EXPECTED = {
    "model_type": "a mapping of fields to values is needed",
    "dict_type": "a mapping of names to values is needed",
    "tuple_type": "a list is needed",
    "string_type": "text is needed; put it in quotes",
}


def validated(
    kind: type[AnyModel], raw: Any, origin: str, context: dict[str, Any] | None = None
) -> AnyModel:
    """Validate a raw spec.

    Args:
        kind: The model of the spec.
        raw: The content as read.
        origin: The file or name at the start of each line of the message.
        context: The context of the validators, such as the ``base`` of relative paths.

    Raises:
        InputError: If fields are wrong, with a line per wrong field.
    """
    try:
        return kind.model_validate(raw, context=context)
    except ValidationError as error:
        raise InputError(sentences(error, origin)) from None


def sentences(error: ValidationError, origin: str) -> str:
    """Return a line per wrong field, at most ``MOST_LINES``: origin, field, error and value."""
    items = error.errors(include_url=False)
    lines = [
        f"{origin}: {line}"
        for item in items
        if not _follows(item, items)
        for line in _sentence(item).splitlines()
    ]
    left = len(lines) - MOST_LINES
    return "\n".join(lines[:MOST_LINES]) + (f"\n{origin}: and {left} more" if left > 0 else "")


def _follows(item: ErrorDetails, items: Sequence[ErrorDetails]) -> bool:
    """Return whether a list is too short only because its own entries are wrong."""
    place = item["loc"]
    return item["type"] == "too_short" and any(
        other["loc"][: len(place)] == place and len(other["loc"]) > len(place) for other in items
    )


def _sentence(item: ErrorDetails) -> str:
    field, value = ".".join(map(str, item["loc"])), item["input"]
    if item["type"] == "missing":
        return f"field '{field}' is missing"
    told = item["type"] == "unknown_key" or isinstance(value, dict | BaseModel)
    shown = "" if told else f" (value: {shorten(repr(value))})"
    if item["type"] == "too_short":
        found, least = item["ctx"]["actual_length"], item["ctx"]["min_length"]
        needed = f"give {'one' if least == 1 else least} or more"
        has = f"has {found} entries" if found else "is empty"
        return f"field '{field}': it {has}; {needed}{shown}"
    message = _EXPECTED.get(item["type"], item["msg"]) + shown
    return "\n".join((f"field '{field}': " if field else "") + m for m in message.splitlines())
