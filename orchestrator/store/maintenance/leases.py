"""Leases: small files in a store that say who uses it, so that nothing in use is removed.

    leases/use-<id>.json      a run, a search or a merge relies on stored results
    leases/removal-<id>.json  gc or repair removes files

Each side writes its own lease before it looks for leases of the other side, so that at least one of
two processes that start together sees the other. A lease ends with its process, or 10 minutes after
its last renewal. Times are those of the store's files, because clocks of machines differ.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from segtransfer.errors import InputError
from segtransfer.store import Store
from segtransfer.store.files import FileInfo

LEASES = "leases"
DURATION = 600.0  # seconds from the last renewal to the end of a lease
RENEWAL = 60.0  # seconds between renewals
PAUSE = 1.0  # seconds between two looks of a run that waits for gc

log = logging.getLogger(__name__)


@contextmanager
def in_use(store: Store, who: str) -> Iterator[None]:
    """Hold a lease for a run, a search or a merge; wait first until a removal has ended.

    Args:
        store: The store.
        who: The user of the store, in words.

    Raises:
        StoreError: If the store cannot be written.
    """
    with _held(store, "use", who) as own:
        told = False
        while others := _live(store, own, "removal"):
            if not told:
                log.warning("waiting for %s to end", _described(store, others))
            told = True
            time.sleep(PAUSE)
        yield


@contextmanager
def removing(store: Store, who: str) -> Iterator[str]:
    """Hold the lease of a removal.

    Args:
        store: The store.
        who: The verb that removes files.

    Yields:
        The runs and searches that use the store, in words; empty if there are none.

    Raises:
        InputError: If another removal is under way.
        StoreError: If the store cannot be written.
    """
    with _held(store, "removal", who) as own:
        _refuse(store, _live(store, own, "removal"))
        yield _described(store, _live(store, own, "use"))


def refuse_beside_removal(store: Store) -> None:
    """Do nothing unless gc or repair removes files of a store.

    Raises:
        InputError: If a removal is under way.
    """
    if any(name.startswith(f"{LEASES}/removal-") for name in store.files.names(LEASES)):
        _refuse(store, _live_at(store, store_time(store), "removal"))


def _refuse(store: Store, removals: list[FileInfo]) -> None:
    if removals:
        raise InputError(
            f"store {store.location} is being cleaned by {_described(store, removals)}; nothing "
            "was changed: wait until it has ended"
        )


def users(store: Store) -> str:
    """Return the runs and searches that use a store, in words; empty if there are none."""
    return _described(store, _live_at(store, store_time(store), "use"))


def store_time(store: Store) -> float:
    """Return the time in seconds since 1970 by the clock of the store.

    A store that cannot be written has no clock of its own: the time is then that of this machine.
    """
    try:
        with _held(store, "probe", "the time") as path:
            return _time_of(store, path)
    except OSError:
        return time.time()


@contextmanager
def _held(store: Store, kind: str, who: str) -> Iterator[str]:
    """Write a lease, renew it in a thread, delete it at the end; yield its path."""
    path = f"{LEASES}/{kind}-{uuid.uuid4().hex}.json"
    holder = {"who": who, "host": socket.gethostname(), "pid": os.getpid(), "seconds": DURATION}
    content = json.dumps(holder).encode()
    store.files.write(path, content)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEWAL):
            try:
                store.files.write(path, content)
            except OSError as error:
                log.warning("the lease of %s could not be renewed: %s", who, error)

    renewal = threading.Thread(target=renew, daemon=True)
    renewal.start()
    try:
        yield path
    finally:
        ended.set()
        renewal.join()
        with suppress(OSError):
            store.files.delete(path)


def _live(store: Store, own: str, kind: str) -> list[FileInfo]:
    """Return the leases of a kind that have not ended, without the own lease."""
    leases = _live_at(store, _time_of(store, own), kind)
    return [lease for lease in leases if lease.path != own]


def _live_at(store: Store, now: float, kind: str) -> list[FileInfo]:
    leases = [i for i in store.files.infos(LEASES) if i.path.startswith(f"{LEASES}/{kind}-")]
    # A time far ahead is not of this store's clock.
    return [lease for lease in leases if abs(now - lease.mtime_ns / 1e9) < DURATION]


def _time_of(store: Store, path: str) -> float:
    info = store.files.info(path)
    return time.time() if info is None else info.mtime_ns / 1e9


def _described(store: Store, leases: list[FileInfo]) -> str:
    return ", ".join(_holder(store.files.read(lease.path)) for lease in leases)


def _holder(content: bytes | None) -> str:
    """Return who holds a lease, in words."""
    try:
        holder = json.loads(content or b"")
        return f"{holder['who']} (process {holder['pid']} on {holder['host']})"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "an unknown program"
