"""Typed specs from a YAML file, the name of a shipped spec, or a dict, with overrides."""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from segtransfer.errors import InputError
from segtransfer.experiment.overrides import apply_override
from segtransfer.experiment.recipes import EXPERIMENT_RECIPES, find_spec
from segtransfer.experiment.spec import Experiment, Runtime
from segtransfer.tasks.schema import Frozen
from segtransfer.tasks.yaml_files import read_mapping

AnySpec = TypeVar("AnySpec", bound=Frozen)

DEFAULT_STORE = "segtransfer-store"
# Sentences for pydantic's types of error whose own message speaks of Python.
_EXPECTED = {
    "model_type": "a mapping of fields to values is needed",
    "dict_type": "a mapping of names to values is needed",
    "tuple_type": "a list is needed",
}
_LONGEST_VALUE = 80  # characters of a wrong value in a message


def read_experiment(
    source: str | Path | dict[str, Any] | Experiment, overrides: Sequence[str] = ()
) -> Experiment:
    """Read and validate an experiment.

    Args:
        source: The path of a YAML file, the name of a shipped recipe, the content of such a file
            as a dict, or an experiment.
        overrides: Fields to set before validation, as ``field.path=value``.

    Raises:
        InputError: If a field is wrong, with a sentence per wrong field: file, field, value, and
            the allowed values.
    """
    return read_spec(Experiment, source, overrides, EXPERIMENT_RECIPES)


def read_spec(
    kind: type[AnySpec],
    source: str | Path | dict[str, Any] | AnySpec,
    overrides: Sequence[str],
    recipes: Path,
    noun: str = "",
) -> AnySpec:
    """Read and validate a spec with a ``runtime`` section, as ``read_experiment`` does.

    Args:
        kind: The model of the spec.
        source: A path, the name of a spec in ``recipes``, a dict, or a spec of this kind.
        overrides: Fields to set before validation, as ``field.path=value``.
        recipes: The folder of shipped specs. Their relative paths start at the working directory,
            those of other files at the file's folder.
        noun: The spec's name in messages; by default the lower-case name of ``kind``.

    Raises:
        InputError: If a field is wrong, with a sentence per wrong field.
    """
    if isinstance(source, kind):
        if not overrides:
            return source
        source = source.model_dump(mode="json")
    name = noun or kind.__name__.lower()
    if isinstance(source, dict):
        origin, base, raw = name, Path.cwd(), copy.deepcopy(source)
    else:
        path = find_spec(str(source), recipes, name)
        origin, base = str(path), path.parent
        raw = read_mapping(path, needs="data, models and attacks")
        raw.setdefault("name", re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem))
        if path.parent == recipes:
            base = Path.cwd()
    for override in overrides:
        apply_override(raw, override)
    runtime = raw.setdefault("runtime", {})
    if isinstance(runtime, dict) and runtime.get("store", "") is not None:
        raw["runtime"] = {**runtime, "store": _absolute_store(runtime)}
    return _validated(kind, raw, origin, base)


def read_runtime(overrides: Sequence[str]) -> Runtime:
    """Return the runtime of a fleet from ``field.path=value`` overrides alone.

    Raises:
        InputError: If a field is wrong, with a sentence per wrong field.
    """
    raw: dict[str, Any] = {}
    for override in overrides:
        apply_override(raw, override)
    raw["store"] = _absolute_store(raw)
    return _validated(Runtime, raw, "runtime", Path.cwd())


def _absolute_store(runtime: dict[str, Any]) -> str:
    """Return the store's URL or absolute path.

    A relative path starts at the working directory, not at the folder of the spec.
    """
    store = str(runtime.get("store", DEFAULT_STORE))
    if "://" in store:
        return store
    return str((Path.cwd() / Path(store).expanduser()).resolve())


def _validated(kind: type[AnySpec], raw: dict[str, Any], origin: str, base: Path) -> AnySpec:
    try:
        return kind.model_validate(raw, context={"base": base})
    except ValidationError as error:
        raise InputError(_sentences(error, origin)) from None


def _sentences(error: ValidationError, origin: str) -> str:
    """Return a line per wrong field: origin, field, the error, and the value."""
    lines = []
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in item["loc"])
        message = _EXPECTED.get(item["type"], item["msg"])
        if item["type"] == "missing":
            lines.append(f"{origin}: field '{field}' is missing")
            continue
        shown = ""
        if not isinstance(item["input"], dict | Frozen):
            shown = f" (value: {_shorten(item['input'])})"
        lines.append(f"{origin}: {f'field {field!r}: ' if field else ''}{message}{shown}")
    return "\n".join(lines)


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."
