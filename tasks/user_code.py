"""Functions that users name as ``package.module:function``, and the hash of their file."""

import hashlib
import inspect
from importlib import import_module
from types import ModuleType
from typing import Any

from segtransfer.errors import InputError

MARK = "__segtransfer_sha256__"  # on a module: the hash of its file when it was first asked for


def find_function(name: str) -> Any:
    """Import ``package.module:attribute``.

    Raises:
        InputError: If the import fails, or the file changed since it was first imported, because
            this process would run the old code under the new file's hash.
    """
    try:
        found, home = _import(name)
        source = inspect.getsource(home).encode()
    except Exception as error:  # a module of the user's own may raise anything
        raise InputError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
    digest = hashlib.sha256(source).hexdigest()
    if home.__dict__.setdefault(MARK, digest) != digest:
        raise InputError(f"the file of {name} changed since it was imported; start Python anew")
    return found


def source_hash(name: str) -> str:
    """Return the sha256 of the file that defines ``package.module:attribute``.

    Raises:
        InputError: As ``find_function``.
    """
    find_function(name)
    return _import(name)[1].__dict__[MARK]


def _import(name: str) -> tuple[Any, ModuleType]:
    """Return the named attribute, and the module that defines it."""
    module_name, _, attribute = name.partition(":")
    module = import_module(module_name)
    found = getattr(module, attribute)
    return found, inspect.getmodule(found) or module
