"""Interrupts of a run before its work is done: its time limit, or SIGTERM from a cluster."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from segtransfer.errors import SegtransferError


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM. Like Ctrl-C no `Exception`, which error handlers take."""


class HoursUp(SegtransferError):
    """The hours of a search are up: running trials are left as Ctrl-C leaves them.

    Unlike Ctrl-C an `Exception`, after which Tune ends the trials' processes.
    """


@contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated in the main thread on SIGTERM.

    Further signals are ignored, so that the results so far can be shown and logged.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def was_terminated(stop: KeyboardInterrupt) -> bool:
    """Return whether an interrupt is SIGTERM rather than Ctrl-C.

    Ray's waits turn any exception of a handler into a bare KeyboardInterrupt, so the handler that
    `terminable` leaves behind is checked too.
    """
    return isinstance(stop, Terminated) or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@contextmanager
def kept_handler() -> Iterator[None]:
    """Keep a command's handler of SIGTERM while a library installs its own ``sys.exit``."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        if callable(before):
            before(signal.SIGTERM, None)
        raise
    if callable(before) and signal.getsignal(signal.SIGTERM) is not before:
        signal.signal(signal.SIGTERM, before)
