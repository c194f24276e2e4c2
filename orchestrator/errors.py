"""The root of all exceptions, its most general children, and the sentence of a failure."""

import re

_OWN_CLASS = re.compile(r"^segtransfer(\.\w+)+: ")


class SegtransferError(Exception):
    """Any error of segtransfer. The message is a sentence for the user.

    Attributes:
        exit_code: The exit code of a command that ends with the error.
    """

    exit_code = 1


class InputError(SegtransferError, ValueError):
    """A wrong spec, file, model or data set. The message is a sentence for the user."""

    exit_code = 2


class ServerError(SegtransferError, RuntimeError):
    """A server that failed or cannot be reached. The input can be right."""


def reason_of(failure: str) -> str:
    """Return the reason that a traceback, or a sentence, ends with; empty without text.

    The class opens the reason of a foreign exception, and not that of ours.
    """
    lines = failure.strip().splitlines() or [""]
    return _OWN_CLASS.sub("", lines[-1])
