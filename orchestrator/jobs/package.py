"""The package segtransfer for upload with a job: the content of its wheel."""

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from segtransfer.errors import InputError

SOURCE_FOLDERS = ("orchestrator", "search_spaces", "tasks")
SOURCE_FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE")
ENTRY = Path("segtransfer", "__main__.py")
LEAST_SETUPTOOLS = 77  # as pyproject.toml says
BUILT = "orchestrator/reporting/html/vega.js"  # setup.py makes it, with vl_convert


def unpack_package(package: str, scratch: Path) -> tuple[Path, ...]:
    """Unpack a wheel, or the wheel built from a source tree.

    Folders need no installer and no network on the nodes; Ray would install a wheel together with
    all its dependencies.

    Args:
        package: The path of a wheel or of a source tree.
        scratch: An empty folder for the content and for the build.

    Returns:
        The top folders of the wheel: the package and its metadata.

    Raises:
        InputError: The path is neither, cannot be read, or the wheel cannot be built.
    """
    path, content = Path(package).expanduser(), scratch / "content"
    try:
        if _is_source_tree(path):
            path = _build_wheel(path, scratch / "build")
        if not path.is_dir():
            with zipfile.ZipFile(path) as wheel:
                wheel.extractall(content)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"--package {package} cannot be read: {error}") from None
    if not (content / ENTRY).is_file():
        raise InputError(
            f"--package {package} is neither a wheel nor a source tree of segtransfer; "
            "'pip wheel --no-deps .' in the source tree makes a wheel"
        )
    return tuple(sorted(content.iterdir()))


def _is_source_tree(path: Path) -> bool:
    return all((path / name).exists() for name in (*SOURCE_FILES, *SOURCE_FOLDERS))


def _build_wheel(tree: Path, scratch: Path) -> Path:
    """Build the wheel of a copy of a source tree.

    In the tree itself setuptools would leave files, and use modules of an earlier ``build/``.
    """
    sources, wheels = scratch / "sources", scratch / "wheels"
    sources.mkdir(parents=True)
    for name in SOURCE_FILES:
        shutil.copy(tree / name, sources)
    for name in SOURCE_FOLDERS:
        shutil.copytree(tree / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel"]
    options = ["--no-build-isolation"] if _builds_alone(tree) else []
    done = subprocess.run(
        [*command, "--no-deps", *options, "--wheel-dir", str(wheels), str(sources)],
        cwd=scratch,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reasons = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = next((r for r in reasons if r.startswith(("ERROR:", "error:"))), "")
        raise InputError(
            f"--package {tree}: pip cannot build a wheel of this source tree "
            f"({reason or ' '.join(reasons[-1:])}); give --package a wheel"
        )
    return next(wheels.glob("*.whl"))


def _builds_alone(tree: Path) -> bool:
    """Return whether the wheel of a source tree can be built with the installed packages."""
    try:
        recent = int(version("setuptools").partition(".")[0]) >= LEAST_SETUPTOOLS
    except PackageNotFoundError:
        return False
    return recent and ((tree / BUILT).is_file() or find_spec("vl_convert") is not None)
