"""Deaths at writes to the store: a process that calls ``obey`` dies as an order there says.

An order is a file beside the store's folders; who comes to such a write first takes it, and dies.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

from segtransfer.runtime.ray_driver import DriverActor
from segtransfer.store.files import PARTIAL, Files

ORDER = "order.json"


class Driver(DriverActor):
    """The driver that may be told to die at a write."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        obey()
        super().__init__(*arguments, **named)


def order(store: Path, kind: str, moment: str) -> None:
    """The next process that writes a file of a kind dies there."""
    store.mkdir(parents=True, exist_ok=True)
    partial = store / f"{ORDER}.new"
    partial.write_text(json.dumps([kind, moment]))
    partial.rename(store / ORDER)


def withdraw(store: Path) -> bool:
    """Forget an order; whether there was one that nobody came to take."""
    try:
        (store / ORDER).unlink()
    except FileNotFoundError:
        return False
    return True


def obey() -> None:
    """Have this process look for orders at every write to a store."""
    write = Files.write

    def obedient(files: Files, path: str, content: bytes) -> None:
        moment = _ordered(Path(files.location), path)
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

    Files.write = obedient  # type: ignore[method-assign]


def _ordered(store: Path, path: str) -> str | None:
    try:
        kind, moment = json.loads((store / ORDER).read_text())
    except FileNotFoundError:
        return None
    if path.split("/")[0] != kind:
        return None
    (store / ORDER).unlink()
    return moment


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
