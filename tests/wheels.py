"""Distributions built from copies of the checkout, and environments with one of them installed."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.infra.labs import pip

# Folders that tools leave in a checkout; git ignores them all.
LEFT_BY_TOOLS = (
    ".git", ".venv", ".hypothesis", "__pycache__", "*.egg-info", "*_cache", "build", "dist",
    "segtransfer-store", "mlruns", "mlflow.db", "zoo-training", "secrets",
)  # fmt: skip


def copy_checkout(folder: Path) -> Path:
    """Copy the checkout to a new folder, without the files that git ignores."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_BY_TOOLS))
    return folder


def build_wheel(source: Path, folder: Path) -> Path:
    """Build the wheel of a source tree into a folder. The build leaves traces in the tree."""
    pip(None, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source))
    return next(folder.glob("segtransfer-*.whl"))


def build_sdist(source: Path, folder: Path) -> Path:
    """Build the source distribution of a tree into a folder. The build leaves traces in it."""
    code = "import setuptools.build_meta as backend, sys; backend.build_sdist(sys.argv[1])"
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", code, str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return next(folder.glob("segtransfer-*.tar.gz"))
