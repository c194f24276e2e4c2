"""Records of runs that could not be logged to MLflow, kept in the store until they are logged."""

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from segtransfer.store.store import Store, parse

UNLOGGED = "unlogged"


@dataclass(frozen=True)
class Unlogged:
    """A run that could not be logged.

    Attributes:
        identity: The identity of the experiment or search.
        name: The name of the run.
        cause: The message of the error.
        at: The time of the attempt, in ISO 8601.
    """

    identity: str
    name: str
    cause: str
    at: str


def note(store: Store, identity: str, name: str, cause: str) -> None:
    """Record that a run could not be logged. A store that cannot be written is left unchanged.

    Args:
        store: The store.
        identity: The identity of the experiment or search.
        name: The name of the run.
        cause: The message of the error.
    """
    at = datetime.now(UTC).isoformat(timespec="seconds")
    content = json.dumps({"name": name, "cause": cause, "at": at})
    with suppress(OSError):
        store.files.write(f"{UNLOGGED}/{identity}.json", content.encode())


def forget(store: Store, identity: str) -> None:
    """Delete the record of a run, which is logged now. A missing record is no error."""
    with suppress(OSError):
        if store.files.info(path := f"{UNLOGGED}/{identity}.json") is not None:
            store.files.delete(path)


def unlogged(store: Store) -> list[Unlogged]:
    """Return the records of runs that could not be logged, oldest first.

    Raises:
        StoreError: The store cannot be read.
    """
    found = []
    for path in store.files.names(UNLOGGED):
        content = store.files.read(path)
        stored = None if content is None else parse(content)
        values = [(stored or {}).get(name) for name in ("name", "cause", "at")]
        if path.endswith(".json") and all(isinstance(value, str) for value in values):
            identity = path.removeprefix(f"{UNLOGGED}/").removesuffix(".json")
            found.append(Unlogged(identity, *map(str, values)))
    return sorted(found, key=lambda run: run.at)
