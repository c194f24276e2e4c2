"""What every typed spec shares: frozen, unknown keys refused with a suggestion, fractions read."""

import difflib
import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError


def suggest(value: str, allowed: Iterable[str]) -> str:
    """'did you mean "x"?' for the closest allowed name, else the list of what is allowed."""
    names = sorted(allowed)
    close = difflib.get_close_matches(value, names, n=1, cutoff=0.6)
    listed = ", ".join(names) if names else "nothing"
    return (f"did you mean '{close[0]}'? " if close else "") + f"Allowed: {listed}"


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


def read_number(value: Any) -> Any:
    """Read '8/255' as a float; anything that is no such string passes through."""
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
    """Make a path of a spec absolute: relative ones start at the spec file's folder."""
    if isinstance(value, str | Path) and "://" not in str(value):
        base = (info.context or {}).get("base", Path.cwd())
        return str((Path(base) / Path(value).expanduser()).resolve())
    return value


AnyPath = Annotated[str, BeforeValidator(resolve_path)]


def resolve_name_or_path(value: Any, info: ValidationInfo) -> Any:
    """Make a file beside the spec absolute; anything else is a name and stays as it is."""
    path = resolve_path(value, info)
    return path if isinstance(path, str) and Path(path).is_file() else value


NameOrPath = Annotated[str, BeforeValidator(resolve_name_or_path)]
