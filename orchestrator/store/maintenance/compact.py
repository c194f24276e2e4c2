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
        files: The number of files written.
        replaced: The number of files deleted.
        left: The paths of damaged files, which are kept.
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

    A compaction first waits until gc and repair have ended. During a compaction gc keeps all rows,
    and repair refuses.

    Returns:
        The numbers of rows and files; all 0 if the store has no single row, and at most one
        compacted file with few rows.

    Raises:
        StoreError: The store cannot be written, or a written file reads back with other bytes.
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
        # Another compaction may have written the same file, so a written file is kept.
        if file.path not in written and file.path not in left:
            store.files.delete(file.path)
            replaced += 1
    return CompactReport(rows, len(written), replaced, tuple(left))


def write_compacted(store: Store, rows: list[CommitRow]) -> str:
    """Write the newest row of each key into a file of compacted rows.

    Args:
        store: The store.
        rows: The rows, perhaps several of a key.

    Returns:
        The path of the file, which follows from its content.

    Raises:
        StoreError: The file cannot be written, or reads back with other bytes.
    """
    # Compactions at the same time can leave the same rows in two files.
    newest = {row.key: row for row in sorted(rows, key=lambda row: (row.key, row.created))}
    content = encode_rows(list(newest.values()))
    digest = hashlib.sha256(content).hexdigest()
    path = f"{COMPACTED}/{digest}.parquet"
    store.files.write(path, content)
    if store.files.read(path) != content:
        raise StoreError(None, f"{path} of store {store.location} reads back with other bytes than "
                         "were written; no file was removed: check the disk")  # fmt: skip
    return path


def remove_unchanged(store: Store, info: FileInfo) -> bool:
    """Delete a file unless the file was written since a listing.

    Args:
        store: The store.
        info: The file as listed: path, size and time.

    Returns:
        Whether the file was deleted.
    """
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
