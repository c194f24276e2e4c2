"""The root of all exceptions, its most general children, and the sentence of a failure."""

import re

_OWN_CLASS = re.compile(r"^segtransfer(\.\w+)+: ")


class SegtransferError(Exception):
    """Any error of segtransfer. The message is a sentence for the user.

    Attributes:
        exit_code: The exit code of a command that ends with the error: 1, or 2 for wrong input.
    """

    exit_code = 1


class InputError(SegtransferError, ValueError):
    """A wrong spec, file, model, data set or argument; also a ValueError. Exit code 2.

    The message is a sentence per mistake: the place, the value, and the allowed values.
    """

    exit_code = 2


class ServerError(SegtransferError, RuntimeError):
    """A server that failed or cannot be reached; also a RuntimeError. The input can be right."""


def reason_of(failure: str) -> str:
    """Return the last line of a failure.

    Args:
        failure: A traceback, or a sentence.

    Returns:
        The last line. The class of a foreign exception is kept (``KeyError: 'x'``), and the class
        of an exception of segtransfer is removed. Empty if ``failure`` is empty.
    """
    lines = failure.strip().splitlines() or [""]
    return _OWN_CLASS.sub("", lines[-1])
