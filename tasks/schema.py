"""The base of every typed spec: frozen, strict about keys, with an identity and common fields."""

import difflib
import math
from collections.abc import Iterable, Set
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError


def suggest(value: str, allowed: Iterable[str]) -> str:
    """Return a hint for a wrong name: the closest allowed name if any is close, and all allowed."""
    names = sorted(allowed)
    close = difflib.get_close_matches(value, names, n=1, cutoff=0.6)
    listed = ", ".join(names) if names else "nothing"
    return (f"did you mean '{close[0]}'? " if close else "") + f"Allowed: {listed}"


def added_later(default: Any) -> Any:
    """Return the default of a field that was added after results had been stored.

    A spec whose field has this default keeps the identity that it had without the field, so its
    stored results stay valid:

        antialias: bool = added_later(False)

    Args:
        default: The value that means "as before". It is not validated, so give it as read.
    """
    return Field(default, json_schema_extra={"added_later": True})


class Frozen(BaseModel):
    """A spec: immutable once read, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_key",
                        "unknown key '{key}': {hint}",
                        {"key": str(key), "hint": suggest(str(key), cls.model_fields)},
                    )
        return data

    def identity_fields(self, *, exclude: Set[str] = frozenset()) -> dict[str, Any]:
        """Return the fields that tell this spec from another, as JSON values.

        Fields marked with ``added_later`` are left out while they have their default, here and in
        nested specs. Every key, fingerprint and identity made of a spec uses this method.

        Args:
            exclude: Names of fields of this spec to leave out, because they change no result.
        """
        return _identity_value(self, self.model_dump(mode="json", exclude=set(exclude)))


def _identity_value(value: Any, content: Any) -> Any:
    """Return ``content``, the JSON of ``value``, without added fields that have their default."""
    if isinstance(value, _LEAF_TYPES):  # asked first, because a plan makes 100,000 keys
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
    """Return the default of each field of a spec that was added later."""
    extras = {name: field.json_schema_extra for name, field in spec.model_fields.items()}
    return {
        name: spec.model_fields[name].default
        for name, extra in extras.items()
        if isinstance(extra, dict) and "added_later" in extra
    }


def read_number(value: Any) -> Any:
    """Read a number or a fraction such as '8/255'; values that are no strings pass through."""
    if not isinstance(value, str):
        return value
    text = value.replace(" ", "")
    try:
        # Fraction alone would write out the zeros of 1e999999999.
        number = float(Fraction(text)) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise PydanticCustomError(
            "number", "'{value}' is not a number; write 0.03 or 8/255", {"value": value}
        )
    return number


Number = Annotated[float, BeforeValidator(read_number)]


def resolve_path(value: Any, info: ValidationInfo) -> Any:
    """Make a path of a spec absolute; a relative path starts at the folder of the spec's file."""
    if isinstance(value, str | Path) and "://" not in str(value):
        base = (info.context or {}).get("base", Path.cwd())
        return str((Path(base) / Path(value).expanduser()).resolve())
    return value


AnyPath = Annotated[str, BeforeValidator(resolve_path)]


def resolve_name_or_path(value: Any, info: ValidationInfo) -> Any:
    """Make the path of an existing file absolute; any other value is a name and stays."""
    path = resolve_path(value, info)
    return path if isinstance(path, str) and Path(path).is_file() else value


NameOrPath = Annotated[str, BeforeValidator(resolve_name_or_path)]
