"""Faults at writes to a store: a process that calls ``install`` dies at an injected fault.

A fault is a file beside the store's folders. The first process at such a write takes the fault and
dies.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

from segtransfer.runtime.executors.ray.driver import DriverActor
from segtransfer.store.files import Files
from segtransfer.store.local_disk import PARTIAL

FAULT = "fault.json"


class Driver(DriverActor):
    """The driver, which dies at injected faults."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        install()
        super().__init__(*arguments, **named)


def inject(store: Path, kind: str, moment: str) -> None:
    """Have the next process that writes a file of a kind die at that write."""
    store.mkdir(parents=True, exist_ok=True)
    partial = store / f"{FAULT}.new"
    partial.write_text(json.dumps([kind, moment]))
    partial.rename(store / FAULT)


def withdraw(store: Path) -> bool:
    """Delete a fault, and return whether there was one that no process had taken."""
    try:
        (store / FAULT).unlink()
    except FileNotFoundError:
        return False
    return True


def install() -> None:
    """Have this process look for a fault at every write to a store."""
    write = Files.write

    def faulty(files: Files, path: str, content: bytes) -> None:
        moment = _take_fault(Path(files.location), path)
        if moment == "before":
            _die()
        if moment == "during":
            torn = Path(files.location, path).parent / f"{PARTIAL}torn"
            torn.parent.mkdir(parents=True, exist_ok=True)
            torn.write_bytes(content[: len(content) // 2])
            _die()
        write(files, path, content)
        if moment == "after":
            _die()

    Files.write = faulty  # type: ignore[method-assign]


def _take_fault(store: Path, path: str) -> str | None:
    try:
        kind, moment = json.loads((store / FAULT).read_text())
    except FileNotFoundError:
        return None
    if path.split("/")[0] != kind:
        return None
    (store / FAULT).unlink()
    return moment


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
