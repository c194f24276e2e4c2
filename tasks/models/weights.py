"""Files of weights: paths, URLs with a sha256, and published URLs with sha256 digits in the name.

Downloads are cached in ``$XDG_CACHE_HOME/segtransfer``, by default ``~/.cache/segtransfer``: as
``SHA256.pth`` if a spec gives the hash, else as ``NAME.pth`` with the hash of the first download in
``NAME.pth.sha256``. If ``SEGTRANSFER_WEIGHTS`` names a folder or the URL of a mirror, files missing
from the cache come from there alone, by name or by the URL's path, and are checked alike.
"""

import logging
import os
import re
from pathlib import Path
from urllib.parse import ParseResult, urlparse

from segtransfer.errors import InputError, SegtransferError
from segtransfer.tasks.models.download import download, write_whole, writing
from segtransfer.tasks.models.files import foreign_kind, sha256_of
from segtransfer.tasks.urls import secret_part, without_credentials

log = logging.getLogger(__name__)

URL_SCHEMES = ("https", "http")
PLACE = "SEGTRANSFER_WEIGHTS"  # a folder, or the URL of a mirror, with files of weights
DIGITS = re.compile(r"-([0-9a-f]{8,64})\.\w+$")  # of the sha256, at the end of a published name


def fetch(location: str, sha256: str | None) -> Path:
    """Return the local file of a checkpoint; download a URL once into the cache.

    Args:
        location: A path, or an http(s) URL.
        sha256: The hash of the content, 64 hex digits; required for a URL.

    Returns:
        An existing file whose content has the hash, if given.

    Raises:
        InputError: If the file is missing, a URL has no ``sha256``, carries credentials or is not
            http(s), or the content has another hash.
        ServerError: If the server fails or cannot be reached.
    """
    if "://" not in location:
        path = Path(location)
        if not path.is_file():
            raise InputError(f"checkpoint {path} does not exist; give the path of an existing file")
    else:
        url = _parsed(location, "checkpoint")
        if sha256 is None:
            shown = without_credentials(location)
            raise InputError(f"checkpoint {shown} is a URL; give the file's sha256, too")
        path = _obtain(url, cache_folder() / f"{sha256}{Path(url.path).suffix}")
    if sha256 is not None and sha256_of(path) != sha256:
        # The hash found is not printed, because copied into the spec it would approve any file.
        reason = f"has another sha256 than the given {sha256}"
        refusal = _refusal(location, path, reason, "copy file and sha256 from the same source")
        if "://" in location:
            _drop(path)
        raise refusal
    return path


def fetch_published(location: str, sha256: str | None = None) -> Path:
    """Return the local file of a published URL with digits of its sha256 in the name.

    The sha256 of the first download is recorded in the cache, and required later.

    Args:
        location: A URL such as ``https://host/fcn-0123abcd.pth``.
        sha256: The hash of the content, or None if unknown.

    Returns:
        An existing file whose content has the digits, the recorded hash and ``sha256``.

    Raises:
        InputError: If the name has no digits, or the content another hash; else as ``fetch``.
        ServerError: If the server fails or cannot be reached.
    """
    url = _parsed(location, "checkpoint")
    name = Path(url.path).name
    digits = DIGITS.search(name)
    if digits is None:
        raise InputError(
            f"the name of checkpoint {without_credentials(location)} does not end with digits of "
            "its sha256 (such as -0123abcd.pth); download the file, and give its path as checkpoint"
        )
    cached = cache_folder() / name
    record = cached.with_name(f"{name}.sha256")
    recorded, path = _recorded(record), _obtain(url, cached)
    found = sha256_of(path)
    for wrong, sound, expected in (
        (not found.startswith(digits[1]), False, f"the digits {digits[1]} in its name"),
        (
            recorded not in (None, found),
            False,
            f"the first download, recorded in {record}",
        ),
        (sha256 not in (None, found), True, f"the given {sha256}"),
    ):
        if wrong:
            refusal = _refusal(
                location,
                path,
                f"has another sha256 than {expected}",
                "download the published file again, or give the path of your file as checkpoint",
            )
            if not sound:
                _drop(path)
            raise refusal
    if recorded is None:
        _record(record, found)
    return path


def cache_folder() -> Path:
    """Return the folder of downloaded weights.

    Returns:
        ``$XDG_CACHE_HOME/segtransfer``, by default ``~/.cache/segtransfer``; may not exist yet.

    Raises:
        InputError: If the variable names the home folder of no user.
    """
    return (
        _expanded("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "segtransfer"
    )


def _expanded(variable: str, folder: str) -> Path:
    """Return the path of the folder in an environment variable.

    Raises:
        InputError: If ``~`` names no user.
    """
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        raise InputError(f"{variable}={folder} is no folder: {error}; give a full path") from error


def _obtain(url: ParseResult, cached: Path) -> Path:
    """Return the file of a URL: in the cache, in the folder of ``PLACE``, or downloaded.

    Raises:
        InputError: If the file is neither in ``PLACE`` nor on the server.
        ServerError: If the server fails or cannot be reached.
    """
    place, below = os.environ.get(PLACE, ""), url.path.lstrip("/")
    candidates = dict.fromkeys((below, Path(below).name))
    if cached.exists():
        return cached
    if not place:
        download(url.geturl(), cached)
        return cached
    if "://" in place:
        _parsed(place, PLACE)
        return _mirrored([f"{place.rstrip('/')}/{below}" for below in candidates], cached)
    folder = _expanded(PLACE, place)
    if not folder.is_dir():
        raise InputError(f"{PLACE}={place} is no folder and no URL; set it to a folder or a URL")
    for candidate in candidates:
        if (folder / candidate).is_file():
            return folder / candidate
    raise InputError(
        f"{PLACE}={place} has no file {' and no '.join(candidates)}; copy it there, or unset "
        f"{PLACE} to download {without_credentials(url.geturl())}"
    )


def _mirrored(urls: list[str], cached: Path) -> Path:
    """Download the first of several URLs available on a mirror.

    Raises:
        InputError: If the mirror has none of the URLs.
        ServerError: If the mirror fails or cannot be reached.
    """
    for url in urls:
        try:
            download(url, cached)
            return cached
        except InputError as error:
            refused = error
    raise InputError(f"{refused}, or change the mirror, {PLACE}") from refused


def _record(record: Path, found: str) -> None:
    """Record the sha256 of a file, unless the cache is read-only, as on some nodes."""
    try:
        with writing(record.parent):
            record.parent.mkdir(parents=True, exist_ok=True)
            write_whole(record, f"{found}  {record.stem}\n")  # as sha256sum -c reads it
    except SegtransferError as error:
        log.warning("the sha256 of %s is not recorded: %s", record.stem, error)


def _recorded(record: Path) -> str | None:
    """Return the sha256 of the first download, or None if there was none.

    Raises:
        InputError: If the record holds no sha256.
    """
    try:
        recorded = record.read_text(errors="replace").partition(" ")[0]
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not re.fullmatch(r"[0-9a-f]{64}", recorded):
        raise InputError(
            f"{record} does not hold the sha256 of the first download; restore the file, or delete "
            "it to record the hash again"
        )
    return recorded


def _refusal(location: str, path: Path, reason: str, remedy: str) -> InputError:
    """Return the error of a file with another hash."""
    kind = foreign_kind(path)
    shown = without_credentials(location)
    if path.parent != cache_folder() and "://" in location:
        shown += f", in {path},"
    what = f": it is {kind}" if kind else ""
    return InputError(f"checkpoint {shown} {reason}{what}; {remedy}")


def _drop(path: Path) -> None:
    """Delete a downloaded file with a wrong hash, so that the next run downloads it again."""
    if path.parent == cache_folder():
        path.unlink(missing_ok=True)


def _parsed(location: str, subject: str) -> ParseResult:
    """Return the parts of an http(s) URL.

    Raises:
        InputError: If the text is no such URL, or has credentials.
    """
    shown = without_credentials(location)
    try:
        url = urlparse(location)
        _ = url.port  # parsed, and checked, on access
    except ValueError as error:
        raise InputError(f"{subject} {location} is no URL ({error}); correct it") from error
    if url.username is not None or secret_part(location):
        # A spec is kept in the store and logged to MLflow.
        raise InputError(
            f"{subject} {shown} is given with credentials; leave them out, or give a local path "
            "instead"
        )
    if url.scheme not in URL_SCHEMES or not url.hostname:
        raise InputError(
            f"{subject} {shown} is no {' or '.join(URL_SCHEMES)} URL; give a local path instead"
        )
    return url
