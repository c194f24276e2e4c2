"""Validation of raw specs, and the message of a wrong spec: a line per wrong field."""

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Overridden:
    """A field of a raw spec whose value comes from an override or an option, not from a file.

    Attributes:
        path: The parts of the field's path; ``*`` is every item of a list.
        text: The override or option in messages, for example ``--max-hours 0``.
    """

    path: tuple[str, ...]
    text: str

    def sets(self, place: Sequence[str], unknown: bool) -> bool:
        """Return whether the value at a place comes from this override.

        Args:
            place: The parts of the place.
            unknown: Whether the place is an unknown key, which a longer path also creates.
        """
        if len(self.path) > len(place) and not unknown:
            return False
        return all(own in (part, "*") for own, part in zip(self.path, place, strict=False))


def validated(
    kind: type[AnyModel],
    raw: Any,
    origin: str,
    context: dict[str, Any] | None = None,
    overridden: Sequence[Overridden] = (),
) -> AnyModel:
    """Validate a raw spec.

    Args:
        kind: The class of the spec.
        raw: The content as read, usually a mapping.
        origin: The file or name at the start of each line of the message.
        context: The context of the validators; its ``base`` is the folder of relative paths.
        overridden: The fields of ``raw`` that do not come from ``origin``, in order.

    Returns:
        The spec.

    Raises:
        InputError: If fields are wrong, with a line per wrong field as ``sentences`` writes it.
    """
    try:
        return kind.model_validate(raw, context=context)
    except ValidationError as error:
        raise InputError(sentences(error, origin, overridden)) from None


def sentences(error: ValidationError, origin: str, overridden: Sequence[Overridden] = ()) -> str:
    """Return the message of a wrong spec.

    Args:
        error: The error of the validation.
        origin: The file or name at the start of each line.
        overridden: The fields that do not come from ``origin``, in order.

    Returns:
        A line per wrong field, at most ``MOST_LINES``: origin, field, error and value; then a line
        with the number of further errors, if any. The line of an overridden field starts with the
        override, and leaves out field and value if the override has both.
    """
    items = error.errors(include_url=False)
    lines = [
        line
        for item in items
        if not _follows(item, items)
        for line in _lines(item, origin, overridden)
    ]
    left = len(lines) - MOST_LINES
    rest = f"\n{origin}: and {left} more wrong fields" if left > 0 else ""
    return "\n".join(lines[:MOST_LINES]) + rest


def _lines(item: ErrorDetails, origin: str, overridden: Sequence[Overridden]) -> list[str]:
    """Return the lines of an error: the override, or the file and the field; then the mistake."""
    unknown = item["ctx"]["key"] if item["type"] == "unknown_key" else None
    place = [str(part) for part in (*item["loc"], *([] if unknown is None else [unknown]))]
    source = next((o for o in reversed(overridden) if o.sets(place, unknown is not None)), None)
    whole = source is not None and len(source.path) >= len(place)
    field = "" if whole else ".".join(map(str, item["loc"]))
    lines = _sentence(item, field, shows_value=not whole).splitlines()
    return [f"{source.text if source else origin}: {line}" for line in lines]


def _follows(item: ErrorDetails, items: Sequence[ErrorDetails]) -> bool:
    """Return whether a list is too short only because its own entries are wrong."""
    place = item["loc"]
    return item["type"] == "too_short" and any(
        other["loc"][: len(place)] == place and len(other["loc"]) > len(place) for other in items
    )


def _sentence(item: ErrorDetails, field: str, *, shows_value: bool) -> str:
    value = item["input"]
    if item["type"] == "missing":
        return f"field '{field}' is missing; add it"
    message = item["msg"].removeprefix("Value error, ")  # pydantic's words before an InputError
    told = (
        not shows_value
        or item["type"] == "unknown_key"
        or isinstance(value, dict | BaseModel)
        or f"'{value}'" in message
    )
    shown = "" if told else f" (value: {shorten(repr(value))})"
    if item["type"] == "too_short":
        found, least = item["ctx"]["actual_length"], item["ctx"]["min_length"]
        has = f"has {found} entries" if found else "is empty"
        place = f"field '{field}'" if field else "the list"
        return f"{place} {has}; give {least} or more{shown}"
    expected = _EXPECTED.get(item["type"])
    message = (expected.format(**item.get("ctx", {})) if expected else message) + shown
    return "\n".join((f"field '{field}': " if field else "") + m for m in message.splitlines())
