"""Every row of a store, read several files at a time, for all maintenance."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

from segtransfer.errors import InputError
from segtransfer.store import CommitRow, Store
from segtransfer.store.rows import COMPACTED, ROW_PATH, ROWS

THREADS = 3  # each holds a whole file, so memory grows with the threads
BUCKET_THREADS = 16  # each read waits for its answer

Item = TypeVar("Item")
Mapped = TypeVar("Mapped")


@dataclass(frozen=True)
class RowIndex:
    """The rows of a store by key, without their reports, and the files with unreadable rows.

    Attributes:
        rows: The rows by key.
        unreadable: The number of unreadable rows by path, 0 if the whole file is unreadable.
    """

    rows: dict[str, CommitRow]
    unreadable: dict[str, int]


def open_existing(location: str) -> Store:
    """Return the store at a folder or URL.

    Raises:
        InputError: If there is no store, so that a mistyped location is no empty store.
    """
    store = Store(location)
    if not any(store.files.names(folder) for folder in (ROWS, COMPACTED, "experiments")):
        raise InputError(
            f"{store.location} holds no store: there is nothing in {ROWS}/, {COMPACTED}/ or "
            "experiments/; give the folder or URL that runtime.store named"
        )
    return store


def in_threads(
    store: Store, function: Callable[[Item], Mapped], items: Iterable[Item]
) -> Iterator[Mapped]:
    """Yield the function of each item, in order, from several threads with a bounded queue.

    Args:
        store: The store that the function reads; a bucket is read by more threads than a folder.
        function: The function, whose results are small.
        items: The items.
    """
    iterator = iter(items)
    threads = BUCKET_THREADS if store.remote else THREADS
    with ThreadPoolExecutor(threads) as pool:
        while batch := list(islice(iterator, threads * 16)):
            yield from pool.map(function, batch)


def read_rows(store: Store) -> RowIndex:
    """Return all rows. If a key has several, it is the row that ``Store.row`` returns."""
    unreadable: dict[str, int] = {}
    single: dict[str, CommitRow] = {}
    # Single rows come first, so that a row that is compacted meanwhile is found in its new file.
    keys = single_keys(store)
    for key, row in zip(
        keys, in_threads(store, lambda k: bare(store.single_row(k)), keys), strict=True
    ):
        if row is not None:
            single[key] = row
        elif store.files.info(path := f"{ROWS}/{key[:2]}/{key}.parquet"):
            unreadable[path] = 1
    try:
        compacted = _compacted(store, unreadable)
    except FileNotFoundError:
        return read_rows(store)  # another compaction replaced a file
    return RowIndex(compacted | single, unreadable)


def _compacted(store: Store, unreadable: dict[str, int]) -> dict[str, CommitRow]:
    """Return the newest compacted row per key, and count unreadable rows in ``unreadable``."""
    rows: dict[str, CommitRow] = {}
    for file in store.compacted.refresh():
        if file.damaged and not file.keys:
            unreadable[file.path] = 0
        for key, stored in file.rows():
            row = bare(stored)
            if row is None:
                unreadable[file.path] = unreadable.get(file.path, 0) + 1
            elif key not in rows or rows[key].created < row.created:
                rows[key] = row
    return rows


def single_keys(store: Store) -> list[str]:
    """Return the keys of the rows in files of their own, sorted."""
    matches = (ROW_PATH.fullmatch(name) for name in store.files.names(ROWS))
    return sorted(match[2] for match in matches if match)


def bare(row: CommitRow | None) -> CommitRow | None:
    """Return a row without its report, so that 150,000 rows fit in memory."""
    return None if row is None else replace(row, report={})


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield the items in parts of at most ``size``."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def named_results(content: dict[str, Any] | None) -> tuple[set[str], set[str]] | None:
    """Return the keys of the tasks, and the shards, that an experiment or trial names.

    Args:
        content: The description of the experiment or trial, None if it is damaged.

    Returns:
        None if the description is no such list.
    """
    cells, shards = (content or {}).get("cells"), (content or {}).get("shards")
    if not isinstance(cells, list) or not isinstance(shards, list):
        return None
    keys = [key for cell in cells if isinstance(cell, list) for key in cell[4:6] if key]
    whole = all(isinstance(cell, list) and len(cell) == 6 for cell in cells)
    if not whole or not all(isinstance(name, str) for name in [*keys, *shards]):
        return None
    return set(keys), set(shards)
