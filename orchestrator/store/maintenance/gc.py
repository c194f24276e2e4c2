"""Garbage collection: list unneeded files, and delete them on request."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from segtransfer.errors import InputError
from segtransfer.store import CommitRow, Store
from segtransfer.store.files import PARTIAL, FileInfo
from segtransfer.store.maintenance.compact import remove_unchanged, write_compacted
from segtransfer.store.maintenance.reading import RowIndex, in_threads, read_rows
from segtransfer.store.rows import BLOB_PATH, ROW_PATH, CompactedFile, row_path
from segtransfer.store.store import SHARD_PATH

GRACE_SECONDS = 3600  # within which a file without a row may belong to a write in progress


@dataclass(frozen=True)
class Garbage:
    """A file to delete, or rows to delete from a file of compacted rows, and the reason.

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
        """The bytes that the deletion frees; 0 for rows of a file of compacted rows."""
        return 0 if self.keys else self.info.nbytes


@dataclass(frozen=True)
class GarbageReport:
    """The garbage in the order of deletion, and notes on files kept for want of knowledge."""

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

    Garbage are blobs without a row, interrupted writes, unreadable rows, and failures of tasks that
    are done since. Files younger than an hour are kept: a driver may be about to write their row.

    Args:
        store: The store to search.
        experiments: Also list these experiments, each given by the beginning of its identity.
        unreferenced: Also list the rows and shards that no remaining experiment or trial names.
        now: The time in seconds since 1970. Default: the current time.

    Raises:
        InputError: If a beginning fits no experiment or several, or a description is unreadable.
    """
    old_enough = (time.time() if now is None else now) - GRACE_SECONDS
    # Listed before the rows are read, so that a blob whose row is written meanwhile is named.
    infos = {info.path: info for info in store.files.infos("")}
    old = {path: i for path, i in infos.items() if i.mtime_ns / 1e9 < old_enough}
    index = read_rows(store)
    dropped = _identities(store, experiments)
    garbage = [
        Garbage("experiments to let go", infos[path])
        for identity in dropped
        if (path := f"experiments/{identity}.json") in infos
    ]
    kept = dict(index.rows)
    if unreferenced:
        needed, shards = _referenced(store, dropped)
        spare = _spare_rows(index, needed, old_enough)
        kept = {key: row for key, row in index.rows.items() if key not in spare}
        garbage += _row_garbage(store, spare, infos)
        garbage += _shard_garbage(old, shards | {row.shard for row in kept.values() if row.shard})
    garbage += _unreadable_rows(old, index)
    notes = []
    if index.unreadable:
        notes.append(
            f"{len(index.unreadable)} files hold rows that cannot be read, so which blobs are "
            "needed is not known, and all stay: run the experiments again, and gc after it"
        )
    else:
        garbage += _blob_garbage(old, {row.blob for row in kept.values()})
    garbage += _leftovers(old, index)
    return GarbageReport(tuple(garbage), tuple(notes))


def remove_garbage(store: Store, garbage: Iterable[Garbage]) -> int:
    """Delete garbage, rows before their blobs, and return the bytes freed.

    A file written again since the listing is kept, because a driver is about to name it.
    """
    freed = 0
    spare: dict[str, list[Garbage]] = defaultdict(list)
    for item in garbage:
        # One kind after another, in the order of the report.
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
    reason = "rows that no experiment names"
    paths = (path for key in spare if (path := row_path(key)) in infos)
    garbage = [Garbage(reason, infos[path]) for path in paths]
    for file in store.compacted.refresh():
        keys = frozenset(file.keys & spare.keys())
        if keys and file.path in infos and all(row is not None for _, row in file.rows()):
            garbage.append(Garbage(reason, infos[file.path], keys))
    return garbage


def _shard_garbage(old: dict[str, FileInfo], needed: set[str]) -> list[Garbage]:
    """Return the old shards that no remaining experiment and no row needs."""
    return [
        Garbage("shards that no experiment names", info)
        for path, info in old.items()
        if (match := SHARD_PATH.fullmatch(path)) and match[2] not in needed
    ]


def _unreadable_rows(old: dict[str, FileInfo], index: RowIndex) -> list[Garbage]:
    """Return the old files in which no row is readable."""
    return [
        Garbage("rows that cannot be read", old[path])
        for path in index.unreadable
        if path in old and (ROW_PATH.fullmatch(path) or index.unreadable[path] == 0)
    ]


def _blob_garbage(old: dict[str, FileInfo], named: set[str]) -> list[Garbage]:
    """Return the old blobs that no remaining row names."""
    return [
        Garbage("blobs that no row names", info)
        for path, info in old.items()
        if BLOB_PATH.fullmatch(path) and path not in named
    ]


def _identities(store: Store, beginnings: Sequence[str]) -> list[str]:
    """Return the identities of the experiments whose identities begin like this.

    Raises:
        InputError: If a beginning fits no experiment, or several.
    """
    known = list(store.experiments())
    identities = []
    for beginning in beginnings:
        matches = [identity for identity in known if identity.startswith(beginning)]
        if len(matches) != 1 or not beginning:
            listed = ", ".join(identity[:12] for identity in known) or "none"
            raise InputError(
                f"'{beginning}' is the beginning of {len(matches)} experiments of store "
                f"{store.location}, not of one; it holds {listed}"
            )
        identities += matches
    return identities


def _referenced(store: Store, dropped: Sequence[str]) -> tuple[set[str], set[str]]:
    """Return the keys and the shards that the remaining experiments and all trials name.

    Raises:
        InputError: If the description of an experiment or trial is unreadable.
    """
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


def _leftovers(old: dict[str, FileInfo], index: RowIndex) -> list[Garbage]:
    """Return interrupted writes, and failures of tasks that are done since."""
    garbage = []
    for path, info in old.items():
        name = path.rsplit("/", 1)[-1]
        row = index.rows.get(name.removesuffix(".json"))
        if name.startswith(PARTIAL):
            garbage.append(Garbage("writes that were cut off", info))
        elif path.startswith("failures/") and row is not None and _before(info, row):
            garbage.append(Garbage("failures of tasks that are done since", info))
    return garbage


def _before(info: FileInfo, row: CommitRow) -> bool:
    """Return whether a file was written before a row was committed."""
    return info.mtime_ns / 1e9 <= datetime.fromisoformat(row.created).timestamp()
