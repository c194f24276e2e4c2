"""Functions of users, named ``package.module:function``, and the hash of their files."""

import hashlib
import inspect
import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from segtransfer.errors import InputError
from segtransfer.tasks.user_imports import own_imports

MARK = "__segtransfer_sha256__"  # on a module: the hash of its file at the first use
IMPORTED_MARK = "__segtransfer_imported_sha256__"  # the same, of a module imported by another


def find_function(name: str) -> Any:
    """Import ``package.module:attribute``.

    Args:
        name: The name, with modules found as Python finds them.

    Returns:
        The attribute.

    Raises:
        InputError: If the import fails, or the file changed since the first import (this process
            would run the old code under the new file's hash).
    """
    try:
        found, home = _import(name)
        source = inspect.getsource(home).encode()
    except Exception as error:  # a module of the user's own may raise anything
        top = name.partition(":")[0].partition(".")[0]
        absent = isinstance(error, ModuleNotFoundError) and error.name == top
        hint = f"; start in the folder of {top}, or install its package" if absent else ""
        raise InputError(
            f"{name} cannot be imported: {type(error).__name__}: {error}{hint}"
        ) from error
    digest = hashlib.sha256(source).hexdigest()
    if home.__dict__.setdefault(MARK, digest) != digest:
        raise InputError(f"the file of {name} changed since its import; start Python again")
    return found


def source_hash(name: str, *, whole_package: bool = False) -> str:
    """Return the hash of the user's code behind ``package.module:attribute``.

    Args:
        name: The name of the attribute.
        whole_package: Whether the hash covers imported modules of the attribute's package even if
            the package is installed.

    Returns:
        64 hex digits: the sha256 of the defining file, and of all modules of the user's own that
        the file imports, directly or through others.

    Raises:
        InputError: As ``find_function``, for each of the files.
    """
    find_function(name)
    home = _import(name)[1]
    own, imported = home.__dict__[MARK], own_imports(home, whole_package=whole_package)
    if not imported:
        return own
    files = {module: _marked_hash(name, module, path) for module, path in imported.items()}
    return hashlib.sha256(json.dumps([own, files], sort_keys=True).encode()).hexdigest()


def _marked_hash(name: str, module: str, path: Path) -> str:
    """Return the sha256 of the file of a module imported by the code behind ``name``.

    Raises:
        InputError: If the file changed since the first call.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = sys.modules.get(module)
    if loaded is not None and loaded.__dict__.setdefault(IMPORTED_MARK, digest) != digest:
        raise InputError(
            f"the file of {module}, which {name} imports, changed since its import; "
            "start Python again"
        )
    return digest


def _import(name: str) -> tuple[Any, ModuleType]:
    """Return the named attribute and its defining module."""
    module_name, _, attribute = name.partition(":")
    module = import_module(module_name)
    found = getattr(module, attribute)
    defining = inspect.getmodule(found) if callable(found) else None  # data has its class's module
    return found, defining or module
