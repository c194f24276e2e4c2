"""Files of the working folder that Ray's workers would import in place of segtransfer.

Ray puts the working folder ahead of ``site-packages`` on its workers. ``segtransfer.py`` or
``segtransfer/__init__.py`` in that folder hides any install. A folder ``segtransfer/`` alone hides
an editable install: Python tries the finder of an editable install after all folders of the path.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

from segtransfer.errors import InputError


def find_shadow(path: Sequence[str]) -> Path | None:
    """Return the file or folder that Python would import in place of this segtransfer.

    Args:
        path: Folders in the order in which Python searches them.

    Returns:
        None if ``path`` leads to this segtransfer, or to none.
    """
    found = PathFinder.find_spec("segtransfer", path)
    if found is None:
        return None
    if found.origin is None:  # a namespace package
        return Path(next(iter(found.submodule_search_locations or ())))
    origin = Path(found.origin).resolve()
    return None if origin == own_file() else origin


def own_file() -> Path:
    """Return the ``__init__.py`` of the segtransfer that this process imported."""
    spec = find_spec("segtransfer")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).resolve()


def describe_shadow() -> str:
    """Return an error message if a file or folder hides segtransfer from Ray's workers, else ''."""
    shadow = find_shadow([str(Path.cwd()), *sys.path])
    if shadow is None:
        return ""
    kind = "folder" if shadow.is_dir() else "file"
    sentence = (
        f"{shadow} would be imported on Ray's workers in place of segtransfer "
        f"({own_file().parent}); rename the {kind}, or work in another folder"
    )
    if shadow.is_dir():
        sentence += ", or install segtransfer without --editable"
    return sentence


def check_not_shadowed() -> None:
    """Refuse a working folder that hides segtransfer from Ray's workers.

    Raises:
        InputError: A file or folder is imported in place of this segtransfer.
    """
    if sentence := describe_shadow():
        raise InputError(sentence)
