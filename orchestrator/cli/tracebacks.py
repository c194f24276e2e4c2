"""Tracebacks of errors, written to files instead of the terminal."""

import os
import shlex
import sys
import tempfile
import time
import traceback
from pathlib import Path

from segtransfer.tasks.urls import without_credentials

FOLDER = "segtransfer-reports"  # in the working folder

shown = False  # whether tracebacks are printed too, as --debug sets


def show(wanted: bool) -> None:
    """Set whether tracebacks are printed on standard error too, for the option ``--debug``."""
    global shown
    shown = wanted


def keep(error: BaseException) -> Path | None:
    """Write the command line and an error's traceback to a new file, without credentials.

    Returns:
        The file, in segtransfer-reports/ or, if that folder cannot be written, in the temporary
        folder; None if neither can be written.
    """
    command = without_credentials(shlex.join(["segtransfer", *sys.argv[1:]]))
    content = f"{command}\n\n{text_of(error)}".encode(errors="backslashreplace")
    for folder in (Path(FOLDER), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(exist_ok=True)
            prefix = time.strftime("error-%Y%m%d-%H%M%S-")
            number, name = tempfile.mkstemp(prefix=prefix, suffix=".txt", dir=folder)
        except OSError:
            continue
        path = Path(name)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
        except OSError:
            path.unlink(missing_ok=True)
        else:
            return path
    return None


def text_of(error: BaseException) -> str:
    """Return the traceback of an error and of all its causes, without credentials.

    Causes that ``raise ... from None`` suppressed are included.
    """
    link: BaseException | None = error
    while link is not None:
        if link.__cause__ is None:
            link.__suppress_context__ = False
        link = link.__cause__ or link.__context__
    return without_credentials("".join(traceback.format_exception(error)))
