"""Compact: move many rows into few files, so that planning reads few files."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from segtransfer.store import CommitRow, Store
from segtransfer.store.files import FileInfo, StoreError
from segtransfer.store.maintenance.leases import in_use
from segtransfer.store.maintenance.reading import batches, in_threads
from segtransfer.store.rows import (
    COMPACTED,
    ROW_PATH,
    ROWS,
    ROWS_PER_FILE,
    CompactedFile,
    decode_row,
    encode_rows,
)


@dataclass(frozen=True)
class CompactReport:
    """The result of a compaction.

    Attributes:
        rows: The number of rows written.
        files: The number of files that hold these rows now.
        replaced: The number of files deleted.
        left: The damaged files, which are kept.
    """

    rows: int
    files: int
    replaced: int
    left: tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    """A row and its own file, or None if the row was compacted before."""

    row: CommitRow
    source: FileInfo | None


def compact(store: Store) -> CompactReport:
    """Move single rows, and the rows of small compacted files, into few files of many rows.

    A file is deleted only after another file with its rows has been written and read back. So an
    interruption at any point, or a second compaction at the same time, leaves every row readable.

    A compaction first waits until gc and repair have ended. Beside a compaction gc keeps all rows,
    and repair refuses.
    """
    with in_use(store, "store compact"):
        return _compact(store)


def _compact(store: Store) -> CompactReport:
    opened = store.compacted.refresh()
    left = [file.path for file in opened if file.damaged]
    small = [f for f in opened if not f.damaged and len(f.keys) < ROWS_PER_FILE // 2]
    singles = [info for info in store.files.infos(ROWS) if ROW_PATH.fullmatch(info.path)]
    if not singles and len(small) < 2:
        return CompactReport(0, 0, 0, tuple(left))
    written: set[str] = set()
    rows = replaced = 0
    for batch in _batched(_entries(store, singles, small, left)):
        written.add(write_compacted(store, [entry.row for entry in batch]))
        rows += len(batch)
        sources = [entry.source for entry in batch if entry.source is not None]
        replaced += sum(in_threads(store, lambda info: remove_unchanged(store, info), sources))
    for file in small:
        # Two compactions may write the same file; a file just written is no source.
        if file.path not in written and file.path not in left:
            store.files.delete(file.path)
            replaced += 1
    return CompactReport(rows, len(written), replaced, tuple(left))


def write_compacted(store: Store, rows: list[CommitRow]) -> str:
    """Write the newest row of each key into one file, and return its path.

    Raises:
        OSError: If the file reads other than it was written.
    """
    # Compactions at the same time can leave two files that hold the same rows.
    newest = {row.key: row for row in sorted(rows, key=lambda row: (row.key, row.created))}
    content = encode_rows(list(newest.values()))
    digest = hashlib.sha256(content).hexdigest()
    path = f"{COMPACTED}/{digest}.parquet"
    store.files.write(path, content)
    if store.files.read(path) != content:
        raise StoreError(None, f"{path} of store {store.location} reads other than it was written; "
                         "nothing was removed: check the disk")  # fmt: skip
    return path


def remove_unchanged(store: Store, info: FileInfo) -> bool:
    """Delete a file unless it was written again since; return whether it was deleted."""
    if store.files.info(info.path) != info:
        return False
    store.files.delete(info.path)
    return True


def _entries(
    store: Store, singles: list[FileInfo], small: list[CompactedFile], left: list[str]
) -> Iterator[_Entry]:
    """Yield all readable rows of these files, a single row before a compacted row of its key."""
    seen: set[str] = set()
    for batch in batches(singles, 1000):
        for info, content in zip(
            batch, in_threads(store, lambda info: store.files.read(info.path), batch), strict=True
        ):
            row = decode_row(content, info.path[-72:-8]) if content is not None else None
            if row is not None:
                seen.add(row.key)
                yield _Entry(row, info)
            elif content is not None:
                left.append(info.path)
    for file in small:
        for key, row in file.rows():
            if row is None:
                left.append(file.path)
            elif key not in seen:
                yield _Entry(row, None)
    left[:] = sorted(set(left))


def _batched(entries: Iterator[_Entry]) -> Iterator[list[_Entry]]:
    batch: list[_Entry] = []
    for entry in entries:
        batch.append(entry)
        if len(batch) == ROWS_PER_FILE:
            yield batch
            batch = []
    if batch:
        yield batch
