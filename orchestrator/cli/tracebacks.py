"""Tracebacks of errors, which go to a file and not to the terminal."""

import os
import shlex
import sys
import tempfile
import time
import traceback
from pathlib import Path

from segtransfer.tasks.urls import without_credentials

FOLDER = "segtransfer-reports"  # below the working folder

shown = False  # also on the terminal: the option --debug


def show(wanted: bool) -> None:
    """Set whether tracebacks are printed as well: the option ``--debug``."""
    global shown
    shown = wanted


def keep(error: BaseException) -> Path | None:
    """Write an error's traceback to a new file, in the working folder if possible.

    Returns:
        The file; None if neither the working folder nor the temporary folder can be written.
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
    """Return an error's traceback with those of all errors behind it, without credentials.

    Exceptions that a ``raise ... from None`` left behind are part of the text.
    """
    link: BaseException | None = error
    while link is not None:
        if link.__cause__ is None:
            link.__suppress_context__ = False
        link = link.__cause__ or link.__context__
    return without_credentials("".join(traceback.format_exception(error)))
