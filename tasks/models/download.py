"""Downloads of weights: encrypted redirects, retries, and resumption of partial files."""

import http
import http.client
import json
import logging
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from filelock import FileLock

from segtransfer.errors import InputError, SegtransferError, ServerError
from segtransfer.tasks.urls import without_credentials

log = logging.getLogger(__name__)
RETRY_DELAYS = (1.0, 3.0)  # seconds before the second and the third try
PARTIAL, ORIGIN = ".part", ".part.json"  # endings of a partial file, and of its URL and version
TRANSIENT = (408, 425, 429)  # statuses below 500 worth a retry


class _SameOrSafer(urllib.request.HTTPRedirectHandler):
    """Follow redirects to https, and from http to http; refuse any other redirect."""

    def redirect_request(  # type: ignore[no-untyped-def]
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ):
        old, new = req.type, urlparse(newurl).scheme
        if new != "https" and (old, new) != ("http", "http"):
            raise InputError(
                f"checkpoint {without_credentials(req.full_url)} redirects from {old} to "
                f"{without_credentials(newurl)}, and only redirects to https, or from http to "
                "http, are followed; give the final URL, or download the file and give its path"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, path: Path) -> None:
    """Download a URL to a file, which is created when complete.

    An interrupted download leaves ``path.part``, with URL and version in ``path.part.json`` if the
    server sends a version. The next call resumes the partial file if the server supports ranges and
    has the same version. Concurrent calls download once, by the lock ``path.lock``.

    Args:
        url: An http(s) URL.
        path: The file to write.

    Raises:
        InputError: If the server rejects the URL, or redirects to another protocol.
        ServerError: If the server cannot be reached or fails, also after retries.
        SegtransferError: If the file cannot be written.
    """
    lock = FileLock(_beside(path, ".lock"))
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        if not path.exists():
            _download_with_retries(url, path)
    finally:
        if not _beside(path, ORIGIN).exists():  # the partial file cannot be resumed
            _beside(path, PARTIAL).unlink(missing_ok=True)
        if path.exists():  # processes waiting for the lock find the file
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _download_with_retries(url: str, path: Path) -> None:
    for delay in (*RETRY_DELAYS, None):
        try:
            _download_once(url, path)
            return
        except (
            OSError,
            http.client.HTTPException,
            UnicodeError,
        ) as error:  # URLErrors are OSErrors
            malformed = isinstance(error, http.client.InvalidURL | UnicodeError)
            status = 400 if malformed else getattr(error, "code", 500)
            shown = f"checkpoint {without_credentials(url)} cannot be downloaded"
            reason = without_credentials(str(error) or type(error).__name__)
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if status < 500 and status not in TRANSIENT:
                raise InputError(f"{shown}: {reason}; check the URL") from error
            if delay is None:
                raise ServerError(
                    f"{shown} in {len(RETRY_DELAYS) + 1} tries: {reason}; try again later, or set "
                    "SEGTRANSFER_WEIGHTS to a folder or mirror with the file"
                ) from error
        time.sleep(delay)


def _download_once(url: str, path: Path) -> None:
    part, origin = _beside(path, PARTIAL), _beside(path, ORIGIN)
    begun, version = _begun(url, part, origin)
    headers = {"Range": f"bytes={begun}-", "If-Range": version} if begun else {}
    opener = urllib.request.build_opener(_SameOrSafer)
    try:
        reply = opener.open(urllib.request.Request(url, headers=headers), timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not headers:
            raise
        error.close()
        return _start_over(url, path, origin)
    with reply:
        resumed = bool(headers) and reply.status == http.HTTPStatus.PARTIAL_CONTENT
        if resumed and not (
            reply.headers.get("Content-Range", "").startswith(f"bytes {begun}-")
            and _version(reply.headers) in (version, None)
        ):
            return _start_over(url, path, origin)
        if not resumed:
            with writing(path.parent):
                part.unlink(missing_ok=True)
                _note(origin, url, _version(reply.headers))
        _append(reply, part)
    with writing(path.parent):
        os.replace(part, path)
        origin.unlink(missing_ok=True)


def _start_over(url: str, path: Path, origin: Path) -> None:
    """Download again from the first byte."""
    with writing(path.parent):
        origin.unlink()
    _download_once(url, path)


def _append(reply: Any, part: Path) -> None:
    """Append a reply to a partial file.

    Raises:
        IncompleteRead: If the connection ended early.
    """
    size = int(reply.length or 0) / 1e6
    log.info("downloading %s to %s: %.1f MB", without_credentials(reply.url), part, size)
    with writing(part.parent):
        file = open(part, "ab")  # noqa: SIM115  closed below
    with file:
        while piece := reply.read(1 << 20):
            with writing(part.parent):
                file.write(piece)
                file.flush()
    if reply.length:  # http.client is silent about a connection that ended early
        raise http.client.IncompleteRead(b"", reply.length)


def _begun(url: str, part: Path, origin: Path) -> tuple[int, str]:
    """Return the number of bytes to resume after, and their version; 0 for a new download."""
    try:
        known = json.loads(origin.read_text())
        if known["url"] == url and isinstance(known["version"], str):
            return part.stat().st_size, known["version"]
    except (OSError, ValueError, TypeError, KeyError):
        pass  # no usable record of a partial file
    return 0, ""


def _note(origin: Path, url: str, version: str | None) -> None:
    """Record the URL and the version of a partial file; delete the record without a version."""
    if version is None:
        origin.unlink(missing_ok=True)
    else:
        write_whole(origin, json.dumps({"url": url, "version": version}))


def _version(headers: Any) -> str | None:
    """Return the version of a reply for ``If-Range``, or None (RFC 9110, 13.1.5)."""
    tag = headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def write_whole(path: Path, text: str) -> None:
    """Write a small file atomically, by a rename.

    Args:
        path: The file, in an existing folder.
        text: The content.

    Raises:
        OSError: If the folder cannot be written.
    """
    partial = _beside(path, f".{os.getpid()}-{threading.get_ident()}")
    try:
        partial.write_text(text)  # with the user's default permissions, for a shared cache
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn an OSError of the disk into a SegtransferError, to distinguish it from the server's.

    Args:
        folder: The folder of the cache, for the message.

    Yields:
        Nothing; the body writes into the folder.

    Raises:
        SegtransferError: If the body raises an OSError.
    """
    try:
        yield
    except OSError as error:
        raise SegtransferError(
            f"the cache of weights {folder} cannot be written: {error.strerror or error}; set "
            "XDG_CACHE_HOME to a writable folder with free space"
        ) from error
