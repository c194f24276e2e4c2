"""The option ``--json`` and its output: a JSON value on standard output."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Annotated, Any

import typer

from segtransfer.cli.console import console

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print a JSON value on standard output instead of text.")
]


def print_json(value: object) -> None:
    """Print a value as indented JSON.

    Args:
        value: Dataclasses become objects of their fields, sets become sorted lists, numbers outside
            JSON (NaN, infinity) become null.

    Raises:
        TypeError: A part of the value has no form in JSON.
        OutputError: Standard output cannot be written.
    """
    console.file.write(json.dumps(_plain(value), indent=2, ensure_ascii=False) + "\n")
    console.file.flush()


def _plain(value: Any) -> Any:
    """Return a value as dicts, lists, strings, finite numbers, bools and None.

    Raises:
        TypeError: A part of the value has no form in JSON.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(content) for key, content in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(_plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # a number of numpy
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
