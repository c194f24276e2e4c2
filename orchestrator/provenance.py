"""What computed a result: versions of the packages that matter, and the source's commit."""

import hashlib
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "segtransfer", "torch", "numpy", "ray", "mlflow", "pyarrow", "optuna",
    "onedl-mmsegmentation", "onedl-mmcv", "onedl-mmengine",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Installed versions by distribution name; those that are not installed are left out."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The git commit of the source tree this runs from, None for an installed package."""
    root = Path(__file__).resolve().parents[1]
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


@cache
def code_hash() -> str:
    """sha256 over the sources of this package, as this process loads them."""
    root, digest = Path(__file__).resolve().parents[1], hashlib.sha256()
    for folder in ("orchestrator", "search_spaces", "tasks"):
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()
