"""Atomic files on a local disk: read, write whole by a rename, list without a stat."""

import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PARTIAL = ".partial-"
ASIDE = ".aside-"


def read_regular(path: str) -> bytes | None:
    """Return the content of a regular file.

    Returns:
        None for a folder, a pipe or a device.

    Raises:
        OSError: The path is missing, or the file cannot be read.
    """
    # Without O_NONBLOCK, opening a pipe would wait for a writer.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    with os.fdopen(handle, "rb") as file:
        return file.read()


def folders_below(root: str, folder: str) -> Iterator[str]:
    """Yield the paths of all folders below a folder; links are not followed.

    Args:
        root: The path of the root.
        folder: A path below the root; empty for the root.

    Yields:
        Paths relative to the root.
    """
    for path, names, _ in os.walk(f"{root}/{folder}"):
        for name in names:
            yield os.path.relpath(f"{path}/{name}", root)


def set_aside(path: Path) -> None:
    """Remove an empty folder, or rename a folder with content, so that no file is lost.

    Raises:
        OSError: The path is no folder, is missing, or cannot be changed.
    """
    try:
        path.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        path.rename(path.with_name(f"{path.name}{ASIDE}{secrets.token_hex(4)}"))


def files_below(root: str, folder: str) -> Iterator[str]:
    """Yield the paths of all files below a folder; no stat, so that 150,000 take a second.

    Args:
        root: The path of the root.
        folder: A path below the root; empty for the root. A missing folder has no files.

    Yields:
        Paths relative to the root, also of links, pipes and devices.
    """
    try:
        entries = os.scandir(f"{root}/{folder}")
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from files_below(root, path)
            else:
                yield path


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file by a rename. After any crash the file has its old or its new content.

    Missing folders are created, and a folder at the path is set aside.

    Raises:
        OSError: The file cannot be written. Its earlier content is then kept.
    """
    _make_folder(path.parent)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)
        try:
            os.replace(partial, path)
        except IsADirectoryError:
            set_aside(path)
            os.replace(partial, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise
    _sync(path.parent)


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents, durably."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    """Make a rename durable, so that a power cut never keeps a row and loses its blob."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems sync no folders
            os.fsync(handle)
    finally:
        os.close(handle)
