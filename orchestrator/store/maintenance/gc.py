"""Garbage collection: what nothing needs any more is listed, and removed where a person says so."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from segtransfer.errors import InputError
from segtransfer.store import CommitRow, Store
from segtransfer.store.files import PARTIAL, FileInfo
from segtransfer.store.maintenance.compact import remove_unchanged, write_compacted
from segtransfer.store.maintenance.reading import GRACE_SECONDS, Rows, in_threads, read_rows
from segtransfer.store.rows import BLOB_PATH, ROW_PATH, CompactedFile, row_path
from segtransfer.store.store import SHARD_PATH


@dataclass(frozen=True)
class Garbage:
    """A file to remove and why, or the rows ``keys`` to take out of a file of compacted rows."""

    reason: str
    info: FileInfo
    keys: frozenset[str] = frozenset()

    @property
    def nbytes(self) -> int:
        return 0 if self.keys else self.info.nbytes


@dataclass(frozen=True)
class GarbageReport:
    """What may be removed, in the order of removal, and in sentences what was left alone."""

    garbage: tuple[Garbage, ...]
    notes: tuple[str, ...]


def find_garbage(
    store: Store,
    *,
    experiments: Sequence[str] = (),
    unreferenced: bool = False,
    now: float | None = None,
) -> GarbageReport:
    """What no result needs: blobs that no row names, writes that were cut off, rows that cannot be
    read, failures of tasks that are done since. Removes nothing.

    ``experiments``: also these, by identity or its beginning. ``unreferenced``: also the rows and
    shards that no experiment names which then stays. Nothing younger than an hour is garbage: a
    driver may have written a blob whose row is yet to come. Raises InputError for an unknown
    experiment.
    """
    old_enough = (time.time() if now is None else now) - GRACE_SECONDS
    # Listed before the rows are read: a blob whose row comes in between is seen as named.
    infos = {info.path: info for info in store.files.infos("")}
    old = {path: i for path, i in infos.items() if i.mtime_ns / 1e9 < old_enough}
    read = read_rows(store)
    notes = []
    dropped = _identities(store, experiments)
    garbage = [
        Garbage("experiments to let go", infos[path])
        for identity in dropped
        if (path := f"experiments/{identity}.json") in infos
    ]
    kept = dict(read.rows)
    if unreferenced:
        needed, shards = _referenced(store, dropped)
        spare = {
            key: row
            for key, row in read.rows.items()
            if key not in needed and datetime.fromisoformat(row.created).timestamp() < old_enough
        }
        kept = {key: row for key, row in read.rows.items() if key not in spare}
        garbage += _row_garbage(store, spare, infos)
        shards |= {row.shard for row in kept.values() if row.shard}
        garbage += [
            Garbage("shards that no experiment names", info)
            for path, info in old.items()
            if (match := SHARD_PATH.fullmatch(path)) and match[2] not in shards
        ]
    garbage += [
        Garbage("rows that cannot be read", old[path])
        for path in read.unreadable
        if path in old and (ROW_PATH.fullmatch(path) or read.unreadable[path] == 0)
    ]
    if read.unreadable:
        notes.append(
            f"{len(read.unreadable)} files hold rows that cannot be read, so which blobs are "
            "needed is not known, and all stay: run the experiments again, and gc after it"
        )
    else:
        named = {row.blob for row in kept.values()}
        garbage += [
            Garbage("blobs that no row names", info)
            for path, info in old.items()
            if BLOB_PATH.fullmatch(path) and path not in named
        ]
    garbage += _leftovers(old, read)
    return GarbageReport(tuple(garbage), tuple(notes))


def remove_garbage(store: Store, garbage: Iterable[Garbage]) -> int:
    """Remove what was found, rows before their blobs; returns the bytes freed.

    A file that was written again since it was found stays: a driver is about to name it.
    """
    freed = 0
    spare: dict[str, list[Garbage]] = defaultdict(list)
    for item in garbage:
        # In the order they were found, one kind after another.
        spare[item.reason].append(item)
    for items in spare.values():
        removed = in_threads(lambda item: _remove(store, item), items)
        freed += sum(item.nbytes for item, gone in zip(items, removed, strict=True) if gone)
    return freed


def _remove(store: Store, item: Garbage) -> bool:
    if not item.keys:
        return remove_unchanged(store, item.info)
    try:
        rows = list(CompactedFile(store.files, item.info.path).rows())
    except FileNotFoundError:
        return False  # compacted again meanwhile
    kept = [row for key, row in rows if key not in item.keys and row is not None]
    if not kept or write_compacted(store, kept) != item.info.path:
        store.files.delete(item.info.path)
    return True


def _row_garbage(
    store: Store, spare: dict[str, CommitRow], infos: dict[str, FileInfo]
) -> list[Garbage]:
    """Where these rows lie: in files of their own, and in files of compacted rows."""
    reason = "rows that no experiment names"
    paths = (path for key in spare if (path := row_path(key)) in infos)
    found = [Garbage(reason, infos[path]) for path in paths]
    for file in store.compacted.refresh():
        keys = frozenset(file.keys & spare.keys())
        if keys and file.path in infos and all(row is not None for _, row in file.rows()):
            found.append(Garbage(reason, infos[file.path], keys))
    return found


def _identities(store: Store, beginnings: Sequence[str]) -> list[str]:
    """The experiments that these name, by identity or its beginning."""
    known = list(store.experiments())
    found = []
    for beginning in beginnings:
        matches = [identity for identity in known if identity.startswith(beginning)]
        if len(matches) != 1 or not beginning:
            listed = ", ".join(identity[:12] for identity in known) or "none"
            raise InputError(
                f"'{beginning}' is the beginning of {len(matches)} experiments of store "
                f"{store.location}, not of one; it holds {listed}"
            )
        found += matches
    return found


def _referenced(store: Store, dropped: Sequence[str]) -> tuple[set[str], set[str]]:
    """Keys and shards that the experiments name which stay, and the trials of searches; InputError
    where one is unreadable."""
    experiments, trials = store.experiments(), store.trials()
    names = [n for n in store.files.names("experiments") if n.endswith(".json")]
    torn = [n for n in names if n[len("experiments/") : -5] not in experiments]
    torn += [name for name, content in trials.items() if content is None]
    if torn:
        raise InputError(
            f"{torn[0]} of store {store.location} cannot be read, so which rows it needs is not "
            "known: run its experiment again, or remove the file"
        )
    kept = [content for identity, content in experiments.items() if identity not in dropped]
    kept += [content for content in trials.values() if content is not None]
    keys = {key for content in kept for cell in content["cells"] for key in cell[4:6] if key}
    return keys, {shard for content in kept for shard in content["shards"]}


def _leftovers(old: dict[str, FileInfo], read: Rows) -> list[Garbage]:
    """Writes that were cut off, and failures of tasks that are done since."""
    found = []
    for path, info in old.items():
        name = path.rsplit("/", 1)[-1]
        row = read.rows.get(name.removesuffix(".json"))
        if name.startswith(PARTIAL):
            found.append(Garbage("writes that were cut off", info))
        elif path.startswith("failures/") and row is not None and _before(info, row):
            found.append(Garbage("failures of tasks that are done since", info))
    return found


def _before(info: FileInfo, row: CommitRow) -> bool:
    return info.mtime_ns / 1e9 <= datetime.fromisoformat(row.created).timestamp()
