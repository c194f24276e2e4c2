"""Downloads of weights: redirects that keep encryption, a retry, and no file left by a failure."""

import http.client
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from segtransfer.errors import InputError, SegtransferError, ServerError
from segtransfer.tasks.urls import without_credentials

RETRY_DELAYS = (1.0, 3.0)  # seconds before the second and the third try
TRANSIENT = (408, 425, 429)  # of the statuses below 500, these may pass


class _SameOrSafer(urllib.request.HTTPRedirectHandler):
    """Follow redirects to https, and from http to http; refuse all others."""

    def redirect_request(  # type: ignore[no-untyped-def]
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ):
        old, new = req.type, urlparse(newurl).scheme
        if new != "https" and (old, new) != ("http", "http"):
            raise InputError(
                f"checkpoint {without_credentials(req.full_url)} redirects from {old} to "
                f"{without_credentials(newurl)}; redirects are followed to https, and from http to "
                "http; give the final URL, or download the file and give its path"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, path: Path) -> None:
    """Download a URL to a file, which exists only once it is complete.

    Args:
        url: An http(s) URL.
        path: The file to write.

    Raises:
        InputError: If the server says that the URL is wrong, or redirects to another protocol.
        ServerError: If the server cannot be reached or fails, also after retries.
        SegtransferError: If the file cannot be written.
    """
    with _writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
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
            shown = f"checkpoint {without_credentials(url)} could not be downloaded"
            reason = without_credentials(str(error) or type(error).__name__)
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if status < 500 and status not in TRANSIENT:
                raise InputError(f"{shown}: {reason}; check the URL") from error
            if delay is None:
                raise ServerError(
                    f"{shown} in {len(RETRY_DELAYS) + 1} tries: {reason}; try again later"
                ) from error
        time.sleep(delay)


def _download_once(url: str, path: Path) -> None:
    opener = urllib.request.build_opener(_SameOrSafer)
    with opener.open(url, timeout=60) as reply:
        with _writing(path.parent):
            handle, partial = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                while piece := reply.read(1 << 20):
                    with _writing(path.parent):
                        file.write(piece)
                        file.flush()
            if reply.length:  # http.client is silent about a connection that ended early
                raise http.client.IncompleteRead(b"", reply.length)
            with _writing(path.parent):
                os.replace(partial, path)
        finally:
            Path(partial).unlink(missing_ok=True)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Tell the trouble of a disk from that of a server.

    Raises:
        SegtransferError: The folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise SegtransferError(
            f"the cache of weights {folder} cannot be written: {error.strerror or error}; set "
            "XDG_CACHE_HOME to a folder with space that you may write"
        ) from error
