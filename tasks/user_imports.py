"""The user's own modules among the imports of a module, direct and indirect."""

import ast
import json
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.machinery import PathFinder
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlparse

INSTALLED = {"site-packages", "dist-packages"}


def own_imports(home: ModuleType, *, whole_package: bool = False) -> dict[str, Path]:
    """Return the user's own modules imported by ``home``, directly or through others.

    A module is the user's own if it belongs neither to Python, nor to an installed package, nor to
    segtransfer. A package in editable mode counts if its files are below the folder from which
    ``home`` is imported. Imports are read from the source, so an import inside a function or a
    condition counts, too.

    Args:
        home: A module with a file. An imported package around ``home`` counts, too.
        whole_package: Whether modules of ``home``'s package count even if the package is installed.

    Returns:
        The file of each module, by module name, without ``home``; in no fixed order.
    """
    assert home.__file__ is not None
    above = Path(home.__file__).resolve().parents
    root = above[min(home.__name__.count(".") + _is_package(home), len(above) - 1)]
    found: dict[str, Path] = {}
    package = home.__name__.partition(".")[0] if whole_package else None
    waiting = [*_imports(Path(home.__file__), home.__name__, _is_package(home))]
    visited = {home.__name__}
    while waiting:
        name = waiting.pop()
        if name in visited:
            continue
        visited.add(name)
        path = _file_of(name)
        if path is None:
            continue
        if name.partition(".")[0] != package and not _is_own(name, path.resolve(), root):
            continue
        found[name] = path
        if path.suffix == ".py":
            waiting += _imports(path, name, path.name == "__init__.py")
    return found


def _imports(path: Path, name: str, is_package: bool) -> tuple[str, ...]:
    status = path.stat()
    return _imports_as_of(path, name, is_package, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=10_000)
def _imports_as_of(
    path: Path, name: str, is_package: bool, size: int, modified: int
) -> tuple[str, ...]:
    """Parse a file once per size and modification time, because every attack needs the imports."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # a module not imported yet
        return ()
    package = name if is_package else name.rpartition(".")[0]
    return tuple(dict.fromkeys(_names(tree, package)))


def _names(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield the modules imported in a file, and the packages around them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else ()), *filter(None, [node.module])])
            yield from _with_parents(base)
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", None))
            first = node.args[0]
            named = first.value if isinstance(first, ast.Constant) else None
            if called in ("import_module", "__import__") and isinstance(named, str):
                yield from _with_parents(named)


def _with_parents(name: str) -> Iterator[str]:
    parts = [part for part in name.split(".") if part]
    yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _file_of(name: str) -> Path | None:
    """Return the file of a module, imported or not; None for a module without a file."""
    search: list[str] | None = None
    parts = list(_with_parents(name))
    for number, prefix in enumerate(parts):
        spec = getattr(sys.modules.get(prefix), "__spec__", None)
        spec = spec or PathFinder.find_spec(prefix, search)
        if spec is None:
            return None
        search = spec.submodule_search_locations
        if number < len(parts) - 1 and search is None:
            return None
        search = search and list(search)
    path = Path(spec.origin) if parts and spec and spec.origin else None
    return path if path is not None and path.is_file() else None


def _is_own(name: str, path: Path, root: Path) -> bool:
    if name.split(".")[0] == "segtransfer" or INSTALLED & set(path.parts):
        return False
    paths = sysconfig.get_paths()
    if any(path.is_relative_to(paths[kind]) for kind in ("stdlib", "platstdlib")):
        return False
    return path.is_relative_to(root) or not any(map(path.is_relative_to, _editable_folders()))


@cache
def _editable_folders() -> tuple[Path, ...]:
    """Return the folders of packages installed in editable mode."""
    folders = []
    for distribution in distributions():
        told = json.loads(distribution.read_text("direct_url.json") or "{}")
        if told.get("dir_info", {}).get("editable"):
            folders.append(Path(unquote(urlparse(told["url"]).path)).resolve())
    return tuple(folders)


def _is_package(module: ModuleType) -> bool:
    return Path(str(module.__file__)).name == "__init__.py"
