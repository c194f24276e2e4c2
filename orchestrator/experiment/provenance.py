"""Provenance of a result: package versions, the git commit, and the hash of the code."""

import getpass
import hashlib
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from segtransfer.tasks.urls import without_credentials

RECORDED_PACKAGES = (
    "segtransfer", "torch", "numpy", "ray", "mlflow", "pyarrow", "optuna",
    "onedl-mmsegmentation", "onedl-mmcv", "onedl-mmengine",
)  # fmt: skip
# Folders side by side in a source tree, and inside each other in an installed wheel.
IMPORT_PACKAGES = ("segtransfer", "segtransfer.search_spaces", "segtransfer.tasks")


def versions() -> dict[str, str]:
    """Return the version of each package in ``RECORDED_PACKAGES`` that is installed."""
    installed = {}
    for package in RECORDED_PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def commit() -> str | None:
    """Return the git commit of the source tree in use, 40 hexadecimal digits.

    Returns:
        None for an installed wheel, and if git cannot be run.
    """
    root = _folder_of("segtransfer").parent
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except OSError:
        return None
    return answer.stdout.strip() or None


def user() -> str:
    """Return the name of the user of this process, or "unknown"."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container's user can have a number alone
        return "unknown"


def command() -> str:
    """Return the command line of this process, for example ``segtransfer run quickstart``.

    Returns:
        The line without credentials of URLs; empty if the program is not segtransfer.
    """
    name = Path(sys.argv[0]).name
    line = shlex.join([name, *sys.argv[1:]])
    return without_credentials(line) if name == "segtransfer" else ""


@cache
def code_hash() -> str:
    """Return the sha256 over names and contents of all modules of segtransfer.

    Returns:
        64 hexadecimal digits, equal for a wheel and an editable install of the same sources.
    """
    digest = hashlib.sha256()
    for name, path in sorted(module_files().items()):
        digest.update(f"{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def module_files() -> dict[str, Path]:
    """Return the file of every module of segtransfer, by its dotted name."""
    files = {}
    for package in IMPORT_PACKAGES:
        folder = _folder_of(package)
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            if parts[0] == "infra":  # files to copy, in some wheels
                continue
            files[".".join((package, *parts))] = path
    return files


def _folder_of(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).resolve().parent
