"""Hashes of the files in a spec, so a result depends on their content."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from segtransfer.tasks.schema import resolve_path

MOST_HASHED_FILES = 100_000
MOST_HASHED_BYTES = 2**37


def with_hash(
    data: Any, info: ValidationInfo, field: str, hash_field: str, kind: Literal["file", "folder"]
) -> Any:
    """Fill in the sha256 of the file or folder named in a field of a spec.

    Args:
        data: The raw spec.
        info: The validation context with the folder of the spec's file.
        field: The name of the path's field.
        hash_field: The name of the hash's field.
        kind: The kind of path: ``file`` or ``folder``.

    Returns:
        The raw spec with the hash; unchanged without a path. A stored spec keeps its hash if the
        path does not exist.

    Raises:
        PydanticCustomError: If the path is of another kind, is or holds a home folder, or holds
            more than ``MOST_HASHED_FILES`` files or ``MOST_HASHED_BYTES`` bytes.
    """
    if not isinstance(data, dict) or not isinstance(data.get(field), str | Path):
        return data
    path = Path(resolve_path(data[field], info))
    if path.is_file() if kind == "file" else path.is_dir():
        _check_size(path, field)
        return {**data, hash_field: content_hash(path)}
    if path.exists() or data.get(hash_field) is None:
        # A stored spec, which has the hash, is readable without its files.
        raise PydanticCustomError(
            "path",
            "{field} {path} is no {kind}; give the path of an existing {kind}",
            {"field": field, "path": str(path), "kind": kind},
        )
    return data


def _check_size(path: Path, field: str) -> None:
    """Refuse a home folder, folders above it, and more content than AEs or masks have."""
    if path in (Path.home(), *Path.home().parents):
        raise PydanticCustomError(
            "path",
            "{field} is {path}, which is or holds a home folder; name the folder of the images",
            {"field": field, "path": str(path)},
        )
    size = 0
    for files, file in enumerate([path] if path.is_file() else path.rglob("*"), start=1):
        size += file.stat().st_size if file.is_file() else 0
        if files > MOST_HASHED_FILES or size > MOST_HASHED_BYTES:
            raise PydanticCustomError(
                "path",
                "{field} {path} holds more than {files} files or {size} GiB; name a folder of "
                "images alone",
                {
                    "field": field,
                    "path": str(path),
                    "files": f"{MOST_HASHED_FILES:,}",
                    "size": MOST_HASHED_BYTES >> 30,
                },
            )


def content_hash(path: Path) -> str:
    """Return the sha256 of a file or folder.

    Args:
        path: An existing file or folder.

    Returns:
        64 hex digits: of the file's bytes; or of relative paths and hashes of all files below the
        folder, sorted by path.
    """
    if path.is_file():
        return _file_hash(path)
    digest = hashlib.sha256()
    # Image ids may contain folders.
    for file in sorted(path.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(path).as_posix()}\0{_file_hash(file)}".encode())
    return digest.hexdigest()


def _file_hash(path: Path) -> str:
    status = path.stat()
    return _hash_as_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _hash_as_of(path: Path, size: int, modified: int) -> str:
    """Hash a file once per size and modification time, because every shard needs the hash."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
