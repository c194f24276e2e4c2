"""The exceptions of wrong input and of servers in trouble, and the sentence of a failure."""

import re

_OWN_CLASS = re.compile(r"^segtransfer(\.\w+)+: ")


class InputError(ValueError):
    """A wrong spec, file, model or data set. The message is a sentence for the user."""


class ServerError(RuntimeError):
    """A server that failed or cannot be reached. The input can be right; the exit code is 1."""


def reason_of(failure: str) -> str:
    """Return the reason that a traceback, or a sentence, ends with; empty without text.

    The class opens the reason of a foreign exception, and not that of ours.
    """
    lines = failure.strip().splitlines() or [""]
    return _OWN_CLASS.sub("", lines[-1])
