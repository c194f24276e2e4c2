"""The base of typed specs: frozen, strict about keys, with an identity and common field types."""

import difflib
import math
import os
import re
from collections.abc import Iterable, Set
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self, SupportsIndex

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, ErrorDetails, InitErrorDetails, PydanticCustomError

from segtransfer.tasks.json_schema import NUMBER_OR_FRACTION, JsonSchema, describe_fields

SHORT_NUMBER = 7  # characters of a number that a person wrote
LONGEST_VALUE = 80  # characters of a wrong value in a message
FILLED_IN: dict[str, Any] = {"readOnly": True}  # of fields that no person writes


def suggest(value: str, allowed: Iterable[str]) -> str:
    """Return a hint for a wrong name.

    Args:
        value: The wrong name.
        allowed: The allowed names.

    Returns:
        The words after "unknown kind 'y'; ": "allowed: " with all names, sorted.
        A close name is named first: "did you mean 'x'? Allowed: ".
    """
    listed = ", ".join(names := sorted(allowed)) or "nothing"
    close = difflib.get_close_matches(value, names, n=3, cutoff=0.6)
    # Swapped letters are likelier than another letter: pdg is pgd, not pgn.
    close.sort(key=lambda name: -difflib.SequenceMatcher(None, name, value).quick_ratio())
    return f"did you mean '{close[0]}'? Allowed: {listed}" if close else f"allowed: {listed}"


def added_later(default: Any) -> Any:
    """Return the default of a field added after results were stored.

    While the field has this default, the spec keeps its identity without the field, so stored
    results stay valid:

        antialias: bool = added_later(False)

    Args:
        default: The value with the meaning "as before", not validated: give it as read.
    """
    return Field(default, json_schema_extra={"added_later": True})


class Frozen(BaseModel):
    """The base of specs: immutable once read, and strict about keys.

    The section ``Attributes`` of a class's docstring describes the fields, also in JSON schemas.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)

    @model_validator(mode="wrap")
    @classmethod
    def _name_unknown_keys(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Name the allowed keys for each unknown key, beside the errors of other fields."""
        try:
            return handler(data)
        except ValidationError as error:
            items = error.errors(include_url=False)
            if not any(_is_unknown_key(item) for item in items):
                raise
            named = [cls._named(item) if _is_unknown_key(item) else again(item) for item in items]
            raise ValidationError.from_exception_data(cls.__name__, named) from None

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchema:
        """Return the JSON schema of this spec in each of its forms."""
        schema = handler(core_schema)
        fields = handler.resolve_ref_schema(schema)
        describe_fields(cls, fields)
        short = cls.short_forms(fields)
        return {"anyOf": [*short, schema]} if short else schema

    @classmethod
    def short_forms(cls, fields: JsonSchema) -> list[JsonSchema]:
        """Return the JSON schemas of the short forms of this spec, by default none.

        Args:
            fields: The schema of the mapping of fields. An override may change it in place, if a
                spec file writes a field otherwise than the read spec has it.
        """
        return []

    @classmethod
    def _named(cls, item: ErrorDetails) -> InitErrorDetails:
        """Return the error of an unknown key of this spec."""
        message = cls.unknown_key(str(item["loc"][0]), item["input"])
        context = {"message": message, "key": str(item["loc"][0])}
        error = PydanticCustomError("unknown_key", "{message}", context)
        return InitErrorDetails(type=error, loc=(), input=item["input"])

    @classmethod
    def keys_to_write(cls) -> list[str]:
        """Return the keys of a spec file: all fields but those of type ``FilledIn``."""
        return [n for n, field in cls.model_fields.items() if field.json_schema_extra != FILLED_IN]

    @classmethod
    def unknown_key(cls, key: str, value: Any) -> str:
        """Return the error of an unknown key of this spec.

        Args:
            key: The key, as text.
            value: The value under the key.

        Returns:
            A sentence: the key, the closest key if any, and all keys.
        """
        return f"unknown key '{shorten(key)}'; {suggest(key, cls.keys_to_write())}"

    def identity_fields(self, *, exclude: Set[str] = frozenset()) -> dict[str, Any]:
        """Return the fields that distinguish this spec from others, for keys and fingerprints.

        Fields marked with ``added_later`` are left out while they have their default, here and in
        nested specs. Every key, fingerprint and identity of a spec uses this method.

        Args:
            exclude: Names of fields of this spec to leave out, because they change no result.

        Returns:
            JSON values by field name.
        """
        return _identity_value(self, self.model_dump(mode="json", exclude=set(exclude)))


def again(item: ErrorDetails, *before: str) -> InitErrorDetails:
    """Return an error in the form to raise it again, with its type, message and context.

    Args:
        item: The error of a nested validation.
        before: The place of the nested spec, put before the error's own place.
    """
    context = {**item.get("ctx", {}), "message": item["msg"]}
    error = PydanticCustomError(item["type"], "{message}", context)
    return InitErrorDetails(type=error, loc=(*before, *item["loc"]), input=item["input"])


def _is_unknown_key(item: ErrorDetails) -> bool:
    """Tell whether an error is about a key of the validated spec, not of a nested spec."""
    return item["type"] in ("extra_forbidden", "invalid_key") and len(item["loc"]) == 1


def _identity_value(value: Any, content: Any) -> Any:
    """Return ``content``, the JSON of ``value``, without fields added later at their default."""
    if isinstance(value, _LEAF_TYPES):  # checked first, because a plan makes 100,000 keys
        return content
    if isinstance(value, Frozen):
        added = _added_defaults(type(value))
        return {
            name: _identity_value(getattr(value, name), inner)
            for name, inner in content.items()
            if name not in added or getattr(value, name) != added[name]
        }
    if isinstance(value, dict):
        values = zip(value.values(), content.values(), strict=True)
        return dict(zip(content, (_identity_value(*pair) for pair in values), strict=True))
    if isinstance(value, tuple | list):
        return [_identity_value(*pair) for pair in zip(value, content, strict=True)]
    return content


_LEAF_TYPES = (str, int, float, type(None))


@cache
def _added_defaults(spec: type[Frozen]) -> dict[str, Any]:
    """Return the default of each field marked with ``added_later``."""
    extras = {name: field.json_schema_extra for name, field in spec.model_fields.items()}
    return {
        name: spec.model_fields[name].default
        for name, extra in extras.items()
        if isinstance(extra, dict) and "added_later" in extra
    }


_DECIMAL = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_EXAMPLE = "write 0.03 or 8/255"
_WRITTEN_NUMBER = re.compile(rf"{_DECIMAL}|[-+]?\d+/\d+", re.ASCII)


def read_number(value: Any) -> Any:
    """Read a finite number or a fraction such as '8/255'.

    Args:
        value: The raw value. A value other than a number or text is returned for pydantic to judge.

    Returns:
        A finite float.

    Raises:
        PydanticCustomError: If the value is a boolean, not finite, or text of another form.
    """
    if isinstance(value, bool):
        raise _not("number", value, _EXAMPLE)
    if not isinstance(value, int | float | str):
        return value
    text = value.replace(" ", "") if isinstance(value, str) else "0"
    try:
        # Fraction alone would write out the zeros of 1e999999999.
        number = float(Fraction(text) if "/" in text else value)
    except (ValueError, ZeroDivisionError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and _WRITTEN_NUMBER.fullmatch(text)):
        kind = "number" if isinstance(value, str) else "finite number"
        raise _not(kind, value, _EXAMPLE)
    return number


def written(value: float) -> str:
    """Return a number as a spec file writes it.

    Args:
        value: A finite number.

    Returns:
        ``8/255`` for whole levels of 255 if that is shorter and exact, else the decimals.
    """
    levels, decimals = f"{round(255 * value)}/255", repr(value)
    return levels if len(levels) < len(decimals) and read_number(levels) == value else decimals


def strength_text(value: float) -> str:
    """Return an eps or a step size as short text.

    Args:
        value: A fraction of the pixel range [0, 1].

    Returns:
        The number as a spec writes it if that has at most 7 characters, else "x/255".
    """
    text = written(value)
    return text if len(text) <= SHORT_NUMBER else f"{255 * value:g}/255"


def _read_whole(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise _not("whole number", value, "write an integer, without quotes, point and exponent")
    return value.__index__()


def _read_flag(value: Any) -> Any:
    if not isinstance(value, bool):
        raise _not("boolean", value, "write true or false")
    return value


def _read_text(value: Any) -> Any:
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise _not("text", value, "write a character or more, other than spaces and NUL")
    if isinstance(value, bool | int | float):
        raise _not("text", value, "put it in quotes")
    return value


def _read_name(value: Any) -> Any:
    if isinstance(value, str) and (value in (".", "..") or not _NAME.fullmatch(value)):
        raise _not("name", value, "write letters, digits, '_', '-' and '.', and not '.' or '..'")
    return _read_text(value)


def _not(kind: str, value: Any, remedy: str) -> PydanticCustomError:
    """Return the error of a value of a wrong kind."""
    return PydanticCustomError(
        kind.replace(" ", "_"),
        "'{value}' is not a {kind}; {remedy}",
        {"value": shorten(str(value)), "kind": kind, "remedy": remedy},
    )


def shorten(text: str) -> str:
    """Return the text, cut to ``LONGEST_VALUE`` characters with "..." at the end."""
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def _read_fraction(value: float, info: ValidationInfo) -> float:
    if 0 <= value <= 1:
        return value
    raise PydanticCustomError(
        "fraction",
        "{field} is a fraction of the pixel range [0, 1]; {hint}",
        {
            "field": info.field_name or "this number",
            "hint": f"did you mean {value:g}/255?" if 1 < value <= 255 else "write 0.03 or 8/255",
        },
    )


_NAME = re.compile(r"[A-Za-z0-9_.-]+")

# The kinds of scalars in specs. A boolean is never a number, a number is never text, every number
# is finite, and a string is a number only in a field of fractions such as 8/255.
Number = Annotated[
    float,
    Field(allow_inf_nan=False),
    BeforeValidator(read_number),
    WithJsonSchema(NUMBER_OR_FRACTION, mode="validation"),
]
Whole = Annotated[int, BeforeValidator(_read_whole)]
Flag = Annotated[bool, BeforeValidator(_read_flag)]
Text = Annotated[str, BeforeValidator(_read_text)]
FilledIn = Annotated[Text | None, Field(json_schema_extra=FILLED_IN)]
Name = Annotated[str, BeforeValidator(_read_name)]  # also of files and folders
# A strength as a fraction of the pixel range [0, 1]; many tools write 8 for 8/255.
PixelFraction = Annotated[Number, AfterValidator(_read_fraction), Field(ge=0, le=1)]


class WrittenIn(str):
    """A text of a spec, with the folder of the spec's file.

    Attributes:
        folder: The folder at which a relative path in the text starts.
    """

    folder: Path

    def __new__(cls, text: str, folder: Path) -> "WrittenIn":
        """Return the text with its folder."""
        made = super().__new__(cls, text)
        made.folder = folder
        return made


def resolve_path(value: Any, info: ValidationInfo) -> Any:
    """Make a path of a spec absolute.

    Args:
        value: The raw value; a relative path starts at the folder of the spec's file.
        info: The validation context; its ``base`` is that folder, by default the working folder.

    Returns:
        The absolute path; errors are those of ``absolute``.
    """
    if isinstance(value, WrittenIn):
        return absolute(value, value.folder)
    return absolute(value, (info.context or {}).get("base", Path.cwd()))


def absolute(value: Any, base: Path) -> Any:
    """Make a path absolute.

    Args:
        value: The path or URL; ``~`` is the home folder.
        base: The folder at which a relative path starts.

    Returns:
        The absolute path as text; a URL, or a value of another kind, unchanged.

    Raises:
        PydanticCustomError: If the value is an empty text, a number, or a path of no user's home.
    """
    if isinstance(_read_text(value), str | Path) and "://" not in str(value):
        try:
            return str((base / Path(value).expanduser()).resolve())
        except (OSError, RuntimeError, ValueError) as error:
            raise _not("path", value, f"write an absolute path ({error})") from None
    return value


AnyPath = Annotated[str, BeforeValidator(resolve_path)]


def resolve_name_or_path(value: Any, info: ValidationInfo) -> Any:
    """Make the path of an existing file absolute; keep any other value as a name.

    Args:
        value: The raw value.
        info: The validation context with the folder of the spec's file.

    Returns:
        An absolute path, or the value.
    """
    path = resolve_path(value, info)
    return path if isinstance(path, str) and os.path.isfile(path) else value


NameOrPath = Annotated[str, BeforeValidator(resolve_name_or_path)]
