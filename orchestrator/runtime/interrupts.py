"""Interrupts of a run before its work is done: its time limit, or SIGTERM from a cluster."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from segtransfer.errors import SegtransferError


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM. No `Exception`, like Ctrl-C, so no error handler catches it."""


class HoursUp(SegtransferError):
    """The hours of a search are up. Running trials are left in the state that Ctrl-C leaves.

    Unlike Ctrl-C an `Exception`, after which Tune ends the trials' processes.
    """


@contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated in the main thread on SIGTERM, until the block ends.

    Further signals are ignored, so that the results so far can be shown and logged.

    Raises:
        ValueError: If entered outside the main thread.
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

    Ray's waits turn any exception of a handler into a bare KeyboardInterrupt. So the present
    handler of SIGTERM is checked too, which `terminable` sets to "ignore".

    Args:
        stop: The interrupt.
    """
    return isinstance(stop, Terminated) or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@contextmanager
def kept_handler() -> Iterator[None]:
    """Keep a command's handler of SIGTERM while a library installs its own ``sys.exit``.

    Raises:
        Terminated: If SIGTERM arrived while the library's handler was installed, and `terminable`
            is active.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        if callable(before):
            before(signal.SIGTERM, None)
        raise
    if callable(before) and signal.getsignal(signal.SIGTERM) is not before:
        signal.signal(signal.SIGTERM, before)
