"""Files of weights: their hash, and files often downloaded in place of weights."""

import hashlib
import re
from pathlib import Path


def sha256_of(path: str | Path) -> str:
    """Return the sha256 of a file, read in pieces of 1 MiB.

    Args:
        path: The file.

    Returns:
        64 hex digits.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def foreign_kind(path: Path) -> str | None:
    """Return the kind of a file often downloaded in place of weights.

    Args:
        path: The file, whose first 512 bytes are read.

    Returns:
        A phrase for messages: empty, a Git LFS pointer or a web page; None for any other file.
    """
    with open(path, "rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        return "empty"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file (fetch the file with git lfs pull)"
    if re.match(rb"<!doctype|<html|<head|<\?xml|<!--|<error", start):
        return "a web page (HTML or XML), not the file behind its link"
    return None
