"""Files for clusters: launchers, sbatch files, manifests of Kubernetes, containers, Grafana."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import segtransfer
from segtransfer.errors import InputError

LIST = "copied.txt"  # in infra/: the files and folders that users get
PACKAGE = Path(segtransfer.__file__).parent


@dataclass(frozen=True)
class CopiedFiles:
    """The result of a copy.

    Attributes:
        written: Paths of new files.
        kept: Paths of existing files that differ from the shipped files, and are unchanged.
    """

    written: tuple[Path, ...]
    kept: tuple[Path, ...]


def copy_infra(target: Path) -> CopiedFiles:
    """Copy the files for clusters into a folder. Existing files are never replaced.

    Args:
        target: The folder, created if missing.

    Raises:
        InputError: This installation has no such files, or a file is in the place of a folder.
    """
    written, kept = [], []
    source = _folder()
    for path in _files(source):
        copy = target / path.relative_to(source)
        if taken := next((place for place in copy.parents if place.is_file()), None):
            raise InputError(f"{taken} is a file, and a folder is needed; give another folder")
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
            written.append(copy)
        elif not copy.is_file() or copy.read_bytes() != path.read_bytes():
            kept.append(copy)
    return CopiedFiles(tuple(written), tuple(kept))


def _folder() -> Path:
    """Return the folder infra/ of a wheel or of the source tree."""
    for folder in (PACKAGE / "infra", PACKAGE.parent / "infra"):
        if (folder / LIST).is_file():
            return folder
    raise InputError(
        "this installation of segtransfer lacks the files for clusters (containers and jobs have "
        "none); install segtransfer from a wheel or source tree"
    )


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files for users, in the order of their list."""
    for name in (folder / LIST).read_text().split():
        path = folder / name
        yield from [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
