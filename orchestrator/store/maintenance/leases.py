"""Leases: small files in a store that name its users, so that no file in use is removed.

    leases/use-<id>.json      a run, a search, a merge or a compaction relies on stored results
    leases/removal-<id>.json  gc or repair removes files

Each side writes its own lease before reading the leases of the other side, so that at least one of
two processes that start together sees the other. A lease ends with its process: at once for a
process of the same machine, else 10 minutes after the last renewal. Times are those of the store's
files, because clocks of machines differ.
"""

import json
import logging
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segtransfer.errors import InputError
from segtransfer.store import Store
from segtransfer.store.store import parse

LEASES = "leases"
DURATION = 600.0  # seconds from the last renewal to the end of a lease
RENEWAL = 60.0  # seconds between renewals
PAUSE = 1.0  # seconds between two checks of a run that waits for gc

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Lease:
    """A lease of the store.

    Attributes:
        path: The path of its file.
        holder: The content of the file; empty if the file cannot be read.
        seconds: The seconds to the end of the lease, unless it is renewed.
    """

    path: str
    holder: dict[str, Any]
    seconds: float

    @property
    def is_of_here(self) -> bool:
        """Return whether the holder is a process of this machine, whose end can be observed."""
        machine, pid = self.holder.get("machine"), self.holder.get("pid")
        return (
            type(pid) is int and 0 < pid < 2**31 and machine is not None and machine == _machine()
        )

    def in_words(self) -> str:
        """Return the holder, and the latest end of the lease of a holder on another machine."""
        if not {"who", "pid", "host"} <= self.holder.keys():
            return "an unknown program"
        process = f"process {self.holder['pid']} on {self.holder['host']}"
        if not self.is_of_here:
            minutes = math.ceil(self.seconds / 60)
            process += f"; if it was killed, its lease ends in {minutes} min at the latest"
        return f"{self.holder['who']} ({process})"


@contextmanager
def in_use(store: Store, who: str) -> Iterator[None]:
    """Hold a lease for a user of stored results; wait first until a removal has ended.

    Args:
        store: The store.
        who: The user of the store, in words, for example ``run quickstart``.

    Yields:
        None, once no removal is in progress. The wait has no limit; the log names the holders.
        The lease ends with the block, also after an error.

    Raises:
        StoreError: The store cannot be written.
    """
    with _held(store, "use", who) as own:
        warned = False
        while others := _live(store, own, "removal"):
            if not warned:
                log.warning("waiting for %s to end", _described(others))
            warned = True
            time.sleep(PAUSE)
        yield


@contextmanager
def removing(store: Store, who: str) -> Iterator[str]:
    """Hold the lease of a removal.

    Args:
        store: The store.
        who: The command that removes files, for example ``store gc``.

    Yields:
        The runs and searches that use the store, in words; empty for none.

    Raises:
        InputError: Another removal is in progress.
        StoreError: The store cannot be written.
    """
    with _held(store, "removal", who) as own:
        _refuse(store, _live(store, own, "removal"))
        yield _described(_live(store, own, "use"))


def _refuse(store: Store, removals: list[_Lease]) -> None:
    if removals:
        raise InputError(
            f"store {store.location} is being cleaned by {_described(removals)}; no file was "
            "removed: run the command again after its end"
        )


def users(store: Store) -> str:
    """Return the runs and searches that use a store, in words; empty for none.

    Returns:
        The holders, separated by commas, for example ``run r (process 7 on host b)``.
    """
    return _described(_live_at(store, store_time(store), "use"))


def store_time(store: Store) -> float:
    """Return the current time by the clock of the store's file system or bucket.

    Returns:
        Seconds since 1970; by the clock of this machine if the store cannot be written.
    """
    try:
        with _held(store, "probe", "the time") as path:
            return _time_of(store, path)
    except OSError:
        return time.time()


@contextmanager
def _held(store: Store, kind: str, who: str) -> Iterator[str]:
    """Write a lease, renew the lease in a thread, delete the lease at the end; yield its path."""
    path = f"{LEASES}/{kind}-{uuid.uuid4().hex}.json"
    holder = {"who": who, "host": socket.gethostname(), "pid": os.getpid()}
    content = json.dumps(holder | {"machine": _machine()}).encode()
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


def _live(store: Store, own: str, kind: str) -> list[_Lease]:
    """Return the leases of a kind that have not ended, without the own lease."""
    leases = _live_at(store, _time_of(store, own), kind)
    return [lease for lease in leases if lease.path != own]


def _live_at(store: Store, now: float, kind: str) -> list[_Lease]:
    leases = []
    for info in store.files.infos(LEASES):
        age = now - info.mtime_ns / 1e9
        # A time far ahead is from another clock, so the lease is ignored.
        if info.path.startswith(f"{LEASES}/{kind}-") and abs(age) < DURATION:
            holder = parse(store.files.read(info.path) or b"") or {}
            leases.append(_Lease(info.path, holder, DURATION - age))
    return [lease for lease in leases if not (lease.is_of_here and _is_gone(lease.holder["pid"]))]


def _is_gone(pid: int) -> bool:
    """Return whether no process of this machine has this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # a process of another user
        return False
    return False


def _machine() -> str | None:
    """Return the name of the namespace of process ids; None if the system gives no name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _time_of(store: Store, path: str) -> float:
    info = store.files.info(path)
    return time.time() if info is None else info.mtime_ns / 1e9


def _described(leases: list[_Lease]) -> str:
    return ", ".join(lease.in_words() for lease in leases)
