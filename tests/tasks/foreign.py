"""Entries of a user's folder, and of an installed package, made for tests."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import invalidate_caches
from pathlib import Path

import pytest

from segtransfer.tasks import registry


def write_module(folder: Path, name: str, text: str) -> None:
    """Write a module anew; ``name`` may be dotted, and its packages get an ``__init__.py``."""
    path = folder.joinpath(*name.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    for parent in path.relative_to(folder).parents[:-1]:
        (folder / parent / "__init__.py").touch()
    path.write_text(text)
    for loaded in [module for module in sys.modules if module.split(".")[0] == name.split(".")[0]]:
        del sys.modules[loaded]
    invalidate_caches()


def write_entry_points(folder: Path, package: str, **groups: dict[str, str]) -> None:
    """Make ``folder`` the place of an installed package with entry points, by subject."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = []
    for subject, points in groups.items():
        lines += [f"[segtransfer.{subject}]", *(f"{k} = {v}" for k, v in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@contextmanager
def on_path(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> Iterator[None]:
    """Let Python find modules and installed packages in some folders."""
    with monkeypatch.context() as patch:
        for module in [path.stem for folder in folders for path in folder.glob("*.py")]:
            patch.delitem(sys.modules, module, raising=False)  # another test's of this name
        for folder in folders:
            patch.syspath_prepend(str(folder))
        registry._points.cache_clear()
        yield
    registry._points.cache_clear()
