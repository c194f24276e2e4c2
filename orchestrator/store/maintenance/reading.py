"""All rows of a store, read in several threads, for all maintenance."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

from segtransfer.errors import InputError
from segtransfer.store import CommitRow, Store
from segtransfer.store.rows import COMPACTED, ROW_PATH, ROWS

THREADS = 3  # each has a whole file in memory
BUCKET_THREADS = 16  # more, because each read waits for the network

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
    """Open a store that must exist, so that a mistyped location is an error.

    Args:
        location: A folder, or the URL of a folder or bucket.

    Raises:
        InputError: The location has no row and no experiment, or is no location of a store.
    """
    store = Store(location)
    if not any(store.files.names(folder) for folder in (ROWS, COMPACTED, "experiments")):
        raise InputError(
            f"{store.location} holds no store: {ROWS}/, {COMPACTED}/ and experiments/ are empty; "
            "give the folder or URL of runtime.store"
        )
    return store


def in_threads(
    store: Store, function: Callable[[Item], Mapped], items: Iterable[Item]
) -> Iterator[Mapped]:
    """Call a function on each item in several threads, with a bounded queue.

    Args:
        store: The store that the function reads. A bucket is read by 16 threads, a folder by 3.
        function: The function. Up to 16 results per thread are in memory.
        items: The items.

    Yields:
        The results, in the order of the items. An exception of the function is raised here.
    """
    iterator = iter(items)
    threads = BUCKET_THREADS if store.remote else THREADS
    with ThreadPoolExecutor(threads) as pool:
        while batch := list(islice(iterator, threads * 16)):
            yield from pool.map(function, batch)


def read_rows(store: Store) -> RowIndex:
    """Read all rows of a store.

    Returns:
        The rows by key, without their reports. Of several rows with a key, the row is the one that
        ``Store.row`` returns.
    """
    unreadable: dict[str, int] = {}
    single: dict[str, CommitRow] = {}
    # Single rows come first: a row that is compacted between the reads is found in its new file.
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
    """Return the keys of all single-row files, sorted."""
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
    """Return the tasks and shards that an experiment or trial needs.

    Args:
        content: The description of the experiment or trial; None for a damaged description.

    Returns:
        The keys of the tasks, and the ids of the shards. None if the description has no valid
        lists of cells and shards.
    """
    cells, shards = (content or {}).get("cells"), (content or {}).get("shards")
    if not isinstance(cells, list) or not isinstance(shards, list):
        return None
    keys = [key for cell in cells if isinstance(cell, list) for key in cell[4:6] if key]
    whole = all(isinstance(cell, list) and len(cell) == 6 for cell in cells)
    if not whole or not all(isinstance(name, str) for name in [*keys, *shards]):
        return None
    return set(keys), set(shards)
