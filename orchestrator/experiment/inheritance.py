"""Specs that change another spec: ``base: FILE`` or ``base: RECIPE``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segtransfer.errors import InputError
from segtransfer.experiment.overrides import SHORTHAND
from segtransfer.experiment.recipes import file_of, find_spec
from segtransfer.tasks.schema import WrittenIn
from segtransfer.tasks.yaml_files import read_mapping

NEEDS = "data, models and attacks"
FIELDS_OF_SECTIONS = 1  # mappings below the spec; further below, null is a value


def with_bases(path: Path, recipes: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    """Read a spec's file, the file of its base, and so on up to a file without a base.

    Args:
        path: The file of the spec.
        recipes: The folders of shipped specs.

    Returns:
        The fields of each file by path, the spec's file first.

    Raises:
        InputError: A file cannot be read, or a spec is its own base.
    """
    read = {path: read_mapping(path, NEEDS)}
    while (base := read[path].get("base")) is not None:
        found = find_base(base, path.parent, recipes, str(path))
        if found in read:
            raise InputError(
                f"{path}: field 'base' leads back to {found}; remove 'base' from one of the files"
            )
        path, read[found] = found, read_mapping(found, NEEDS)
    return read


def with_base(
    raw: dict[str, Any], folder: Path, recipes: Sequence[Path], origin: str
) -> dict[str, Any]:
    """Return the fields of a spec merged into those of its base.

    Mappings are merged field by field. Any other value, also a list, replaces the value of the
    base. Null resets a section of the base, or a field of a section, to its default. The name of a
    base is not inherited.

    Args:
        raw: The fields of the spec.
        folder: The folder at which the base's relative path starts.
        recipes: The folders of shipped specs, whose relative paths start at the working folder.
        origin: The name of the spec in error messages.

    Returns:
        The merged fields without ``base``. Texts of a base are ``WrittenIn`` the base's folder, so
        that relative paths start there.

    Raises:
        InputError: The base cannot be read, or a spec is its own base.
    """
    if raw.get("base") is None:
        return {name: value for name, value in raw.items() if name != "base"}
    merged: dict[str, Any] = {}
    bases = with_bases(find_base(raw["base"], folder, recipes, origin), recipes)
    for path, content in reversed(bases.items()):
        content.pop("name", None)
        place = Path.cwd() if path.parent in recipes else path.parent
        merged = _merged(merged, _written_in(content, place))
    merged = _merged(merged, raw)
    del merged["base"]
    return merged


def find_base(base: Any, folder: Path, recipes: Sequence[Path], origin: str) -> Path:
    """Return the file of a base, given by its path or by the name of a shipped spec.

    Args:
        base: The value of the field ``base``.
        folder: The folder at which a relative path starts.
        recipes: The folders of shipped specs.
        origin: The name of the spec in error messages.

    Returns:
        The resolved path of an existing file.

    Raises:
        InputError: The value is no text, or neither a file nor the name of a shipped spec.
    """
    if not isinstance(base, str):
        raise InputError(f"{origin}: field 'base' must be a file or a recipe (value: {base})")
    path = file_of(base, folder)
    return find_spec(base, recipes, "base") if path is None else path


def _merged(base: dict[str, Any], own: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """Return the fields of a spec merged into those of its base, ``depth`` mappings below."""
    result = dict(base)
    for name, value in own.items():
        inherited = base.get(name)
        if isinstance(inherited, str) and isinstance(value, dict) and name in SHORTHAND:
            inherited = {SHORTHAND[name]: inherited}
        if isinstance(inherited, dict) and isinstance(value, dict):
            value = _merged(inherited, value, depth + 1)
        result[name] = value
        if value is None and name in base and depth <= FIELDS_OF_SECTIONS:
            del result[name]
    return result


def _written_in(value: Any, folder: Path) -> Any:
    """Return a plain value whose texts remember the folder of their file."""
    if isinstance(value, str):
        return WrittenIn(value, folder)
    if isinstance(value, dict):
        return {name: _written_in(item, folder) for name, item in value.items()}
    return [_written_in(item, folder) for item in value] if isinstance(value, list) else value
