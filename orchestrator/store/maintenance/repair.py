"""Repair: list damaged files, and remove them on request, so that runs compute them again."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from segtransfer.errors import InputError
from segtransfer.store import CommitRow, Store
from segtransfer.store.maintenance.compact import write_compacted
from segtransfer.store.maintenance.leases import removing
from segtransfer.store.maintenance.reading import in_threads
from segtransfer.store.maintenance.verify import (
    DESCRIPTIONS,
    blob_problem,
    check_experiment,
    misplaced,
    outline_of,
)
from segtransfer.store.rows import BLOB_PATH, ROW_PATH, ROWS, CompactedFile
from segtransfer.store.store import SHARD_PATH, shard_path
from segtransfer.tasks.data.shards import Outline


@dataclass(frozen=True)
class Damage:
    """A damaged file, or damaged rows of a file of compacted rows.

    Attributes:
        path: The path of the file below the root of the store.
        sentence: The damage in words.
        keys: The damaged rows of a file of compacted rows; empty if the whole file is damaged.
    """

    path: str
    sentence: str
    keys: frozenset[str] = frozenset()


def find_damage(store: Store) -> tuple[Damage, ...]:
    """List damaged rows, blobs, shards and descriptions, and change nothing.

    A row is damaged if the row itself is damaged, or if its blob is missing, altered,
    or has no arrays of such a task. A folder or a broken link in the place of a file is damage too.

    Returns:
        The damage, sorted by path, at most one item per path.
    """
    return _Look(store).damages()


def remove_damage(store: Store, damages: Iterable[Damage]) -> int:
    """Remove the items of a list that are still damaged.

    Args:
        store: The store.
        damages: Damage of ``find_damage``.

    Returns:
        The number of removed items.

    Raises:
        InputError: A run or a search uses the store, or another removal is in progress.
    """
    listed = {damage.path: damage for damage in damages}
    with removing(store, "store repair") as users:
        if users:
            raise InputError(
                f"store {store.location} is used by {users}; no file was removed: repair again "
                "after its end"
            )
        # Checked again, because a run may have computed a listed result since the listing.
        found = _Look(store, listed).damages()
        for damage in found:
            _remove(store, damage)
    return len(found)


def _remove(store: Store, damage: Damage) -> None:
    if damage.path in store.files.folders(damage.path.rpartition("/")[0]):
        store.files.set_aside(damage.path)
    elif damage.keys:
        rows = CompactedFile(store.files, damage.path).rows()
        kept = [row for key, row in rows if row is not None and key not in damage.keys]
        if kept and write_compacted(store, kept) == damage.path:
            return
        store.files.delete(damage.path)
    else:
        store.files.delete(damage.path)


class _Look:
    """A check of all files of a store, or of the items of a list of damage."""

    def __init__(self, store: Store, listed: Mapping[str, Damage] | None = None) -> None:
        self._store = store
        self._listed = listed  # by path; None for all files
        self._expected: dict[str, Outline | None] = {}  # by shard

    def damages(self) -> tuple[Damage, ...]:
        """Return the damage, sorted by path, one per path."""
        found = [Damage(path, sentence) for path, sentence in misplaced(self._store).items()]
        found += [*self._shards(), *self._descriptions(), *self._results()]
        by_path = {damage.path: damage for damage in reversed(found)}
        return tuple(by_path[path] for path in sorted(by_path) if self._has(by_path[path]))

    def _has(self, damage: Damage) -> bool:
        """Return whether the list has the whole file, or rows of the file, as the damage has."""
        if self._listed is None:
            return True
        listed = self._listed.get(damage.path)
        return listed is not None and bool(listed.keys) == bool(damage.keys)

    def _names(self, folder: str) -> list[str]:
        """Return the paths to check below a folder."""
        names = self._store.files.names(folder)
        return names if self._listed is None else [name for name in names if name in self._listed]

    def _shards(self) -> Iterator[Damage]:
        for name in self._names("shards"):
            if (match := SHARD_PATH.fullmatch(name)) and self._store.shard(match[2]) is None:
                yield Damage(name, "the images or labels are damaged")

    def _descriptions(self) -> Iterator[Damage]:
        for name in (name for folder in DESCRIPTIONS for name in self._names(folder[:-1])):
            if name.endswith(".json") and (finding := check_experiment(self._store, name)):
                yield Damage(name, finding.sentence)

    def _results(self) -> Iterator[Damage]:
        """Yield the damaged rows, and the altered blobs of these rows or of the list."""
        compacted: dict[str, dict[str, str]] = defaultdict(dict)
        blobs = set() if self._listed is None else set(self._names("blobs"))
        for path, key, row, problem in self._checked():
            if row is not None and problem:
                blobs.add(row.blob)
            if problem and ROW_PATH.fullmatch(path):
                yield Damage(path, f"row of {row.kind if row else 'a task'}: {problem}")
            elif problem:
                compacted[path][key] = problem
        for path, bad in compacted.items():
            whole = "" in bad
            sentence = next(iter(bad.values()))
            sentence = sentence if whole else f"{len(bad)} of its rows: {sentence}"
            yield Damage(path, sentence, frozenset() if whole else frozenset(bad))
        for path in sorted(blobs):
            if self._is_altered(path):
                yield Damage(path, "the content has another hash than the name")

    def _checked(self) -> Iterator[tuple[str, str, CommitRow | None, str | None]]:
        """Yield path, key and row of every row, and the problem or None.

        The key is empty for a file without a readable row.
        """
        entries = self._entries()
        while batch := list(islice(entries, 1000)):
            for shard_id in {row.shard for *_, row in batch if row is not None and row.shard}:
                self._expect(shard_id)
            problems = in_threads(self._store, lambda entry: self._problem(entry[2]), batch)
            for entry, problem in zip(batch, problems, strict=True):
                yield *entry, problem

    def _entries(self) -> Iterator[tuple[str, str, CommitRow | None]]:
        """Yield path, key and row of every row, also of rows with a newer row."""
        for name in sorted(self._names(ROWS)):
            if match := ROW_PATH.fullmatch(name):
                yield name, match[2], self._store.single_row(match[2])
        for file in self._store.compacted.refresh():
            listed = None if self._listed is None else self._listed.get(file.path, Damage("", ""))
            if file.damaged and not file.keys:
                yield file.path, "", None
            elif listed is None or listed.keys:
                for key, row in file.rows():
                    if listed is None or key in listed.keys:
                        yield file.path, key, row

    def _expect(self, shard_id: str) -> None:
        """Read the ids and the size of a shard's images once."""
        if shard_id not in self._expected and SHARD_PATH.fullmatch(shard_path(shard_id)):
            self._expected[shard_id] = outline_of(self._store.shard(shard_id))

    def _problem(self, row: CommitRow | None) -> str | None:
        """Return the reason why a row or its blob is damaged, or None."""
        if row is None:
            return "damaged"
        return blob_problem(row, self._store.files.read(row.blob), self._expected)

    def _is_altered(self, path: str) -> bool:
        """Return whether a blob exists and its content has another hash than its name."""
        match, content = BLOB_PATH.fullmatch(path), self._store.files.read(path)
        found = None if content is None else hashlib.sha256(content).hexdigest()
        return match is not None and found not in (None, match[2])
