"""Validation of raw specs, and the message of a wrong spec: a line per wrong field."""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from segtransfer.errors import InputError
from segtransfer.tasks.schema import shorten

AnyModel = TypeVar("AnyModel", bound=BaseModel)
MOST_LINES = 20

# Sentences in the place of pydantic's own, which say neither field nor action.
_EXPECTED = {
    "model_type": "give a mapping of fields to values",
    "dict_type": "give a mapping of names to values",
    "tuple_type": "give a list",
    "string_type": "give text, in quotes",
    "literal_error": "give {expected}",
    "greater_than": "give more than {gt:g}",
    "greater_than_equal": "give {ge:g} or more",
    "less_than": "give less than {lt:g}",
    "less_than_equal": "give {le:g} or less",
    "string_pattern_mismatch": "give text of the pattern {pattern}",
    "string_too_long": "give at most {max_length} characters",
    "too_long": "give at most {max_length} entries",
}


def validated(
    kind: type[AnyModel], raw: Any, origin: str, context: dict[str, Any] | None = None
) -> AnyModel:
    """Validate a raw spec.

    Args:
        kind: The class of the spec.
        raw: The content as read, usually a mapping.
        origin: The file or name at the start of each line of the message.
        context: The context of the validators; its ``base`` is the folder of relative paths.

    Returns:
        The spec.

    Raises:
        InputError: If fields are wrong, with a line per wrong field as ``sentences`` writes it.
    """
    try:
        return kind.model_validate(raw, context=context)
    except ValidationError as error:
        raise InputError(sentences(error, origin)) from None


def sentences(error: ValidationError, origin: str) -> str:
    """Return the message of a wrong spec.

    Args:
        error: The error of the validation.
        origin: The file or name at the start of each line.

    Returns:
        A line per wrong field, at most ``MOST_LINES``: origin, field, error and value; then a line
        with the number of further errors, if any.
    """
    items = error.errors(include_url=False)
    lines = [
        f"{origin}: {line}"
        for item in items
        if not _follows(item, items)
        for line in _sentence(item).splitlines()
    ]
    left = len(lines) - MOST_LINES
    rest = f"\n{origin}: and {left} more wrong fields" if left > 0 else ""
    return "\n".join(lines[:MOST_LINES]) + rest


def _follows(item: ErrorDetails, items: Sequence[ErrorDetails]) -> bool:
    """Return whether a list is too short only because its own entries are wrong."""
    place = item["loc"]
    return item["type"] == "too_short" and any(
        other["loc"][: len(place)] == place and len(other["loc"]) > len(place) for other in items
    )


def _sentence(item: ErrorDetails) -> str:
    field, value = ".".join(map(str, item["loc"])), item["input"]
    if item["type"] == "missing":
        return f"field '{field}' is missing; add it"
    told = item["type"] == "unknown_key" or isinstance(value, dict | BaseModel)
    shown = "" if told else f" (value: {shorten(repr(value))})"
    if item["type"] == "too_short":
        found, least = item["ctx"]["actual_length"], item["ctx"]["min_length"]
        has = f"has {found} entries" if found else "is empty"
        return f"field '{field}' {has}; give {least} or more{shown}"
    expected = _EXPECTED.get(item["type"])
    message = (expected.format(**item.get("ctx", {})) if expected else item["msg"]) + shown
    return "\n".join((f"field '{field}': " if field else "") + m for m in message.splitlines())
