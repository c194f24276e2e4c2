"""Merge: copy missing results from another store."""

import hashlib
from collections import Counter
from dataclasses import dataclass

from segtransfer.errors import InputError
from segtransfer.store import CommitRow, Store
from segtransfer.store.maintenance.leases import in_use
from segtransfer.store.maintenance.reading import RowIndex, in_threads, read_rows
from segtransfer.store.rows import encode_rows, row_path
from segtransfer.store.store import SHARD_PATH


@dataclass(frozen=True)
class MergeReport:
    """The result of a merge.

    Attributes:
        rows: The number of copied rows.
        shards: The number of copied shards.
        experiments: The number of copied descriptions of experiments.
        nbytes: The bytes of copied blobs.
        notes: A clause per reason for which results were left out, with their number.
    """

    rows: int
    shards: int
    experiments: int
    nbytes: int
    notes: tuple[str, ...]


def merge(store: Store, other: Store) -> MergeReport:
    """Copy shards, blobs, their rows, experiments and trials that ``store`` lacks.

    Every copy is checked against its hash, and damaged results of ``other`` are left out.
    Evaluations of AEs that differ between the stores are left out too, because scores of
    different images must not share a matrix.

    Args:
        store: The store to copy into.
        other: The store to copy from, which is only read.

    Returns:
        The numbers of copies, and notes on results left out.

    Raises:
        InputError: Both are the same store.
        StoreError: A store cannot be read or written.
    """
    if other.location == store.location:
        raise InputError(
            f"store {store.location} cannot be merged into itself; name two different stores"
        )
    with in_use(store, "store merge"):
        return _merge(store, other)


def _merge(store: Store, other: Store) -> MergeReport:
    theirs = read_rows(other)
    ours = read_rows(store)
    notes: Counter[str] = Counter()
    if theirs.unreadable:
        notes["files with damaged rows"] += len(theirs.unreadable)
    shards = _copy_shards(store, other, notes)
    wanted = _wanted(ours, theirs, _sizes(store), _sizes(other), notes)
    copied = list(in_threads(store, lambda row: _copy_row(store, other, row), wanted))
    notes["rows whose blob is missing or damaged"] += copied.count(0)
    held_here = store.descriptions()
    experiments = {k: e for k, e in other.descriptions().items() if k not in held_here}
    for identity, content in experiments.items():
        store.save_experiment(identity, content)
    held = store.trials()
    for path in other.trials().keys() - held.keys():
        if (text := other.files.read(path)) is not None:
            store.files.write(path, text)
    return MergeReport(
        rows=len(copied) - copied.count(0),
        shards=shards,
        experiments=len(experiments),
        nbytes=sum(copied),
        notes=tuple(f"left out {count} {what}" for what, count in notes.items() if count),
    )


def _sizes(store: Store) -> dict[str, int]:
    """Return the bytes of every blob by path."""
    return {info.path: info.nbytes for info in store.files.infos("blobs")}


def _wanted(
    ours: RowIndex,
    theirs: RowIndex,
    held: dict[str, int],
    offered: dict[str, int],
    notes: Counter[str],
) -> list[CommitRow]:
    """Return the rows of ``theirs`` to copy, attacks first.

    A row is copied if ``ours`` lacks the row, or lacks its blob or has the blob in another size.
    """
    wanted = []
    for key, row in theirs.rows.items():
        mine = ours.rows.get(key)
        their_attack = theirs.rows.get(row.images or "")
        our_attack = ours.rows.get(row.images or "")
        if mine is not None and mine.sha256 != row.sha256:
            notes["results that differ from the results here, which are kept"] += 1
        elif mine is not None and held.get(row.blob) == offered.get(row.blob):
            continue
        elif their_attack and our_attack and their_attack.sha256 != our_attack.sha256:
            notes["evaluations of AEs that differ from the AEs here"] += 1
        else:
            wanted.append(row)
    return sorted(wanted, key=lambda row: (row.kind != "attack", row.key))


def _copy_row(store: Store, other: Store, bare: CommitRow) -> int:
    """Copy a blob, then its row; return the bytes, or 0 for a missing or damaged blob."""
    row = other.row(bare.key)
    content = other.blob(row) if row is not None else None
    if row is None or content is None:
        return 0
    held = store.files.read(row.blob)
    if held is None or hashlib.sha256(held).hexdigest() != row.sha256:
        store.files.write(row.blob, content)
    store.files.write(row_path(row.key), encode_rows([row]))
    return len(content)


def _copy_shards(store: Store, other: Store, notes: Counter[str]) -> int:
    """Copy the shards that ``store`` lacks, each checked on reading; return their number."""
    held = set(store.files.names("shards"))
    copied = 0
    for name in other.files.names("shards"):
        match = SHARD_PATH.fullmatch(name)
        if match is None or name in held:
            continue
        shard = other.shard(match[2])
        if shard is None:
            notes["damaged shards"] += 1
        else:
            store.put_shard(shard)
            copied += 1
    return copied
