"""What all upkeep reads: every row of a store, several files at a time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from segtransfer.errors import InputError
from segtransfer.store import CommitRow, Store
from segtransfer.store.rows import COMPACTED, ROW_PATH, ROWS

THREADS = 16  # on a bucket each read waits for its answer
GRACE_SECONDS = 3600  # how long a file that nothing names may belong to a write that goes on

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Rows:
    """A store's rows by key, without their reports; the files with rows that are unreadable."""

    rows: dict[str, CommitRow]
    unreadable: dict[str, int]  # path -> rows in it that cannot be read; 0 where none can


def open_existing(location: str) -> Store:
    """The store at a location; InputError where there is none, so that a slip is no empty store."""
    store = Store(location)
    if not any(store.files.names(folder) for folder in (ROWS, COMPACTED, "experiments")):
        raise InputError(
            f"{store.location} holds no store: there is nothing in {ROWS}/, {COMPACTED}/ or "
            "experiments/; give the folder or URL that runtime.store named"
        )
    return store


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Map in several threads, in order; a bounded number is under way at once."""
    iterator = iter(items)
    with ThreadPoolExecutor(THREADS) as pool:
        while batch := list(islice(iterator, THREADS * 16)):
            yield from pool.map(function, batch)


def read_rows(store: Store) -> Rows:
    """Every row; where a key has several, the one that the store itself would give."""
    unreadable: dict[str, int] = {}
    single: dict[str, CommitRow] = {}
    # Rows alone come first: one that is compacted meanwhile is then found in its new place.
    keys = single_keys(store)
    for key, row in zip(keys, in_threads(lambda k: bare(store.single_row(k)), keys), strict=True):
        if row is not None:
            single[key] = row
        elif store.files.info(path := f"{ROWS}/{key[:2]}/{key}.parquet"):
            unreadable[path] = 1
    try:
        compacted = _compacted(store, unreadable)
    except FileNotFoundError:
        return read_rows(store)  # compacted again while it was read
    return Rows(compacted | single, unreadable)


def _compacted(store: Store, unreadable: dict[str, int]) -> dict[str, CommitRow]:
    """The newest of each key's compacted rows; counts those that cannot be read."""
    rows: dict[str, CommitRow] = {}
    for file in store.compacted.refresh():
        if file.damaged and not file.keys:
            unreadable[file.path] = 0
        for key, found in file.rows():
            row = bare(found)
            if row is None:
                unreadable[file.path] = unreadable.get(file.path, 0) + 1
            elif key not in rows or rows[key].created < row.created:
                rows[key] = row
    return rows


def single_keys(store: Store) -> list[str]:
    """Keys of the rows that lie in files of their own, sorted."""
    matches = (ROW_PATH.fullmatch(name) for name in store.files.names(ROWS))
    return sorted(match[2] for match in matches if match)


def bare(row: CommitRow | None) -> CommitRow | None:
    """A row without its report, of which 150,000 fit in memory."""
    return None if row is None else replace(row, report={})


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
