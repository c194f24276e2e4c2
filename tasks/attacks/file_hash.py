"""Hashes of files that a spec names, so a result depends on the content of the files."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from segtransfer.tasks.schema import resolve_path


def with_hash(
    data: Any, info: ValidationInfo, field: str, hash_field: str, kind: Literal["file", "folder"]
) -> Any:
    """Fill in the sha256 of the file or folder that a field of a spec names.

    Args:
        data: The raw spec.
        info: The validation context with the folder of the spec's file.
        field: The name of the field that holds the path.
        hash_field: The name of the field for the hash.
        kind: The kind that the path must be of.

    Returns:
        The raw spec with its hash. A stored spec keeps its hash if the path does not exist.

    Raises:
        PydanticCustomError: If the path is not of this kind.
    """
    if not isinstance(data, dict) or not isinstance(data.get(field), str | Path):
        return data
    path = Path(resolve_path(data[field], info))
    if path.is_file() if kind == "file" else path.is_dir():
        return {**data, hash_field: content_hash(path)}
    if path.exists() or data.get(hash_field) is None:
        # A stored spec, which has the hash, is read where its files need not be.
        raise PydanticCustomError(
            "path", "{field} {path} is no {kind}", {"field": field, "path": str(path), "kind": kind}
        )
    return data


def content_hash(path: Path) -> str:
    """Return the sha256 of a file, or of the names and contents of all files below a folder."""
    if path.is_file():
        return _file_hash(path)
    digest = hashlib.sha256()
    # The ids of some images have a folder in them.
    for file in sorted(path.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(path).as_posix()}\0{_file_hash(file)}".encode())
    return digest.hexdigest()


def _file_hash(path: Path) -> str:
    status = path.stat()
    return _hash_as_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _hash_as_of(path: Path, size: int, modified: int) -> str:
    """Hash a file once per size and modification time, because every shard asks for the hash."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
