"""What ends a run before its work is done: its hours, or SIGTERM, as clusters send it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM came: like Ctrl-C no ``Exception``, as no handler of errors may take it for one."""


class HoursUp(Exception):
    """The hours of a search are up: trials that run are left as Ctrl-C leaves them. Unlike Ctrl-C
    it is an ``Exception``, after which Tune ends their processes."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated where the main thread is when SIGTERM comes; further ones are ignored, so
    that what was done can be shown and logged."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def was_terminated(stop: KeyboardInterrupt) -> bool:
    """Whether SIGTERM came within ``terminable``, which ignores it from then on.

    Ray's waits make a bare KeyboardInterrupt of whatever a handler raises in them.
    """
    return isinstance(stop, Terminated) or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@contextmanager
def kept_handler() -> Iterator[None]:
    """Keep what a command does on SIGTERM while a library puts its own ``sys.exit`` in place."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        if callable(before):
            before(signal.SIGTERM, None)
        raise
    if callable(before) and signal.getsignal(signal.SIGTERM) is not before:
        signal.signal(signal.SIGTERM, before)
