"""Garbage collection: list unneeded files, and delete them on request."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from segtransfer.errors import InputError
from segtransfer.store import CommitRow, Store
from segtransfer.store.files import FileInfo
from segtransfer.store.local_disk import PARTIAL
from segtransfer.store.maintenance.compact import remove_unchanged, write_compacted
from segtransfer.store.maintenance.leases import LEASES, removing, store_time, users
from segtransfer.store.maintenance.reading import RowIndex, in_threads, named_results, read_rows
from segtransfer.store.rows import BLOB_PATH, ROW_PATH, CompactedFile, row_path
from segtransfer.store.store import SHARD_PATH

EXPERIMENTS = "experiments to delete"
ROWS_UNNAMED = "rows that no experiment names"
SHARDS_UNNAMED = "shards that no experiment names"
BLOBS_UNNAMED = "blobs that no row names"
USED = frozenset({EXPERIMENTS, ROWS_UNNAMED, SHARDS_UNNAMED})  # kept while a run uses the store
GRACE_SECONDS = 3600  # within which a file without a row may belong to a write in progress


@dataclass(frozen=True)
class Garbage:
    """A file to delete, or rows to delete from a file of compacted rows.

    Attributes:
        reason: The kind of garbage, in words.
        info: The file.
        keys: The rows to delete from the file; empty if the whole file is garbage.
    """

    reason: str
    info: FileInfo
    keys: frozenset[str] = frozenset()

    @property
    def nbytes(self) -> int:
        """Return the bytes that the deletion frees; 0 for rows of a file of compacted rows."""
        return 0 if self.keys else self.info.nbytes


@dataclass(frozen=True)
class GarbageReport:
    """The result of a search for garbage.

    Attributes:
        garbage: The garbage, in the order of deletion.
        notes: Sentences on files kept although they may be garbage, with the reason.
    """

    garbage: tuple[Garbage, ...]
    notes: tuple[str, ...]


def find_garbage(
    store: Store,
    *,
    experiments: Sequence[str] = (),
    unreferenced: bool = False,
    now: float | None = None,
) -> GarbageReport:
    """List unneeded files, and delete nothing.

    Garbage is: blobs without a row, partial files of interrupted writes, unreadable rows, ended
    leases, and failures of tasks that have a result. Files younger than an hour are kept, because a
    driver may be about to write their row.

    Args:
        store: The store to search.
        experiments: Also list the experiments with these whole identities.
        unreferenced: Also list the rows and shards that no remaining experiment or trial names.
        now: The time in seconds since 1970. Default: the current time.

    Returns:
        The garbage and notes. If rows are unreadable, no blob is garbage.

    Raises:
        InputError: The description of an experiment or trial is unreadable, with ``unreferenced``.
    """
    old_enough = (time.time() if now is None else now) - GRACE_SECONDS
    # Listed before the rows are read, so that every listed blob with a new row counts as named.
    infos = {info.path: info for info in store.files.infos("")}
    old = {path: i for path, i in infos.items() if i.mtime_ns / 1e9 < old_enough}
    index = read_rows(store)
    garbage = [
        Garbage(EXPERIMENTS, infos[path])
        for identity in experiments
        if (path := f"experiments/{identity}.json") in infos
    ]
    kept = dict(index.rows)
    if unreferenced:
        needed, shards = _referenced(store, experiments)
        spare = _spare_rows(index, needed, old_enough)
        kept = {key: row for key, row in index.rows.items() if key not in spare}
        garbage += _row_garbage(store, spare, infos)
        garbage += _shard_garbage(old, shards | {row.shard for row in kept.values() if row.shard})
    garbage += _unreadable_rows(old, index)
    if not index.unreadable:
        garbage += _blob_garbage(old, {row.blob for row in kept.values()})
    garbage += _leftovers(old, index)
    used = users(store) if experiments or unreferenced else ""
    return GarbageReport(tuple(garbage), _notes(index, used))


def _notes(index: RowIndex, used: str) -> tuple[str, ...]:
    """Return a sentence per reason why files are kept: a run, or unreadable rows."""
    notes = []
    if used:
        notes.append(
            f"{used} uses this store: experiments, rows and shards are kept; run gc again after "
            "its end"
        )
    if index.unreadable:
        notes.append(
            f"{len(index.unreadable)} files have unreadable rows, so which blobs are needed is not "
            "known, and all blobs are kept: run segtransfer store repair, then gc again"
        )
    return tuple(notes)


def remove_garbage(store: Store, garbage: Iterable[Garbage]) -> int:
    """Delete garbage, rows before their blobs.

    Each item is checked again before its deletion. A file written since the listing is
    kept, and so is a row, shard or blob named since the listing by an experiment, trial or row.
    While a run or a search uses the store, all experiments, rows and shards are kept, and all files
    younger than an hour by the store's own clock.

    Args:
        store: The store.
        garbage: Garbage of ``find_garbage``.

    Returns:
        The bytes freed.

    Raises:
        InputError: Another removal is in progress, or a description has become unreadable.
    """
    freed = 0
    spare: dict[str, list[Garbage]] = defaultdict(list)
    with removing(store, "store gc") as holders:
        for item in _still_garbage(store, list(garbage), in_use=bool(holders)):
            # One kind after another, in the order of the report.
            spare[item.reason].append(item)
        for items in spare.values():
            removed = in_threads(store, lambda item: _remove(store, item), items)
            freed += sum(item.nbytes for item, gone in zip(items, removed, strict=True) if gone)
    return freed


def _still_garbage(store: Store, garbage: list[Garbage], *, in_use: bool) -> list[Garbage]:
    """Return the listed garbage without items that are needed since the listing."""
    if in_use:
        old_enough = store_time(store) - GRACE_SECONDS
        garbage = [
            item
            for item in garbage
            if item.reason not in USED and item.info.mtime_ns / 1e9 < old_enough
        ]
    dropped = [
        item.info.path[len("experiments/") : -len(".json")]
        for item in garbage
        if item.reason == EXPERIMENTS and store.files.info(item.info.path) == item.info
    ]
    reasons = {item.reason for item in garbage}
    needed, shards = _referenced(store, dropped) if reasons & USED else (set(), set())
    listed = {key for item in garbage if item.reason == ROWS_UNNAMED for key in _keys(item)}
    index = read_rows(store) if reasons & {*USED, BLOBS_UNNAMED} else RowIndex({}, {})
    kept = {key: row for key, row in index.rows.items() if key not in listed - needed}
    shards |= {row.shard for row in kept.values() if row.shard}
    blobs = {row.blob for row in kept.values()}
    still = []
    for item in garbage:
        match = SHARD_PATH.fullmatch(item.info.path)
        if item.keys and (keys := item.keys - needed):
            still.append(replace(item, keys=keys))
        elif not item.keys and not (
            (match and match[2] in shards)
            or item.info.path in blobs
            or (item.reason == ROWS_UNNAMED and _keys(item) & needed)
        ):
            still.append(item)
    return still


def _keys(item: Garbage) -> frozenset[str]:
    """Return the keys of the rows to delete."""
    match = ROW_PATH.fullmatch(item.info.path)
    return frozenset({match[2]}) if match else item.keys


def _remove(store: Store, item: Garbage) -> bool:
    if not item.keys:
        return remove_unchanged(store, item.info)
    try:
        rows = list(CompactedFile(store.files, item.info.path).rows())
    except FileNotFoundError:
        return False  # another compaction replaced the file
    kept = [row for key, row in rows if key not in item.keys and row is not None]
    if not kept or write_compacted(store, kept) != item.info.path:
        store.files.delete(item.info.path)
    return True


def _spare_rows(index: RowIndex, needed: set[str], old_enough: float) -> dict[str, CommitRow]:
    """Return the unneeded rows by key, if committed before ``old_enough``."""
    return {
        key: row
        for key, row in index.rows.items()
        if key not in needed and datetime.fromisoformat(row.created).timestamp() < old_enough
    }


def _row_garbage(
    store: Store, spare: dict[str, CommitRow], infos: dict[str, FileInfo]
) -> list[Garbage]:
    """Return the files of these rows: single rows, and parts of files of compacted rows."""
    paths = (path for key in spare if (path := row_path(key)) in infos)
    garbage = [Garbage(ROWS_UNNAMED, infos[path]) for path in paths]
    for file in store.compacted.refresh():
        keys = frozenset(file.keys & spare.keys())
        if keys and file.path in infos and all(row is not None for _, row in file.rows()):
            garbage.append(Garbage(ROWS_UNNAMED, infos[file.path], keys))
    return garbage


def _shard_garbage(old: dict[str, FileInfo], needed: set[str]) -> list[Garbage]:
    """Return the old shards that no remaining experiment and no row needs."""
    return [
        Garbage(SHARDS_UNNAMED, info)
        for path, info in old.items()
        if (match := SHARD_PATH.fullmatch(path)) and match[2] not in needed
    ]


def _unreadable_rows(old: dict[str, FileInfo], index: RowIndex) -> list[Garbage]:
    """Return the old files in which no row is readable."""
    return [
        Garbage("unreadable rows", old[path])
        for path in index.unreadable
        if path in old and (ROW_PATH.fullmatch(path) or index.unreadable[path] == 0)
    ]


def _blob_garbage(old: dict[str, FileInfo], named: set[str]) -> list[Garbage]:
    """Return the old blobs that no remaining row names."""
    return [
        Garbage(BLOBS_UNNAMED, info)
        for path, info in old.items()
        if BLOB_PATH.fullmatch(path) and path not in named
    ]


def _referenced(store: Store, dropped: Sequence[str]) -> tuple[set[str], set[str]]:
    """Return the keys and the shards that the remaining experiments and all trials name.

    Raises:
        InputError: The description of an experiment or trial is unreadable.
    """
    described: dict[str, Any] = {
        f"experiments/{identity}.json": content
        for identity, content in store.descriptions().items()
        if identity not in dropped
    }
    names = [name for name in store.files.names("experiments") if name.endswith(".json")]
    left_out = {f"experiments/{identity}.json" for identity in dropped}
    described = dict.fromkeys(set(names) - left_out) | described | store.trials()
    keys, shards = set[str](), set[str]()
    for path, content in described.items():
        named = named_results(content)
        if named is None:
            raise InputError(
                f"{path} of store {store.location} cannot be read, so which rows it needs is not "
                "known: run its experiment again, or segtransfer store repair"
            )
        keys |= named[0]
        shards |= named[1]
    return keys, shards


def _leftovers(old: dict[str, FileInfo], index: RowIndex) -> list[Garbage]:
    """Return partial files of interrupted writes, ended leases, and failures of done tasks."""
    garbage = []
    for path, info in old.items():
        name = path.rsplit("/", 1)[-1]
        row = index.rows.get(name.removesuffix(".json"))
        if path.startswith(f"{LEASES}/"):
            garbage.append(Garbage("leases that have ended", info))
        elif name.startswith(PARTIAL):
            garbage.append(Garbage("partial files of interrupted writes", info))
        elif path.startswith("failures/") and row is not None and _before(info, row):
            garbage.append(Garbage("failures of tasks that have a result", info))
    return garbage


def _before(info: FileInfo, row: CommitRow) -> bool:
    """Return whether a file was written before a row was committed, by the row's milliseconds."""
    committed = datetime.fromisoformat(row.created).timestamp()
    return info.mtime_ns // 1_000_000 <= round(committed * 1000)
