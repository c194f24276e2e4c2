"""Repair: list everything that is damaged, and remove it on request, so that runs compute it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from segtransfer.errors import InputError
from segtransfer.store import CommitRow, Store
from segtransfer.store.maintenance.compact import write_compacted
from segtransfer.store.maintenance.leases import removing
from segtransfer.store.maintenance.reading import Item, bare, in_threads, single_keys
from segtransfer.store.maintenance.verify import (
    DESCRIPTIONS,
    blob_problem,
    check_experiment,
    misplaced,
    outline_of,
)
from segtransfer.store.rows import ROW_PATH, CompactedFile, row_path
from segtransfer.store.store import SHARD_PATH
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

    A row is damaged if the row itself is torn or altered, or if its blob is missing, altered, or
    does not hold the arrays of such a task. A folder or a link to nowhere in the place of a file is
    damage, too.
    """
    damages = [Damage(path, sentence) for path, sentence in misplaced(store).items()]
    damages += _damaged_shards(store)
    for name in (name for folder in DESCRIPTIONS for name in store.files.names(folder[:-1])):
        if name.endswith(".json") and (finding := check_experiment(store, name)) is not None:
            damages.append(Damage(name, finding.sentence))
    damages += _damaged_results(store)
    by_path = {damage.path: damage for damage in reversed(damages)}
    return tuple(by_path[path] for path in sorted(by_path))


def remove_damage(store: Store, damages: Iterable[Damage]) -> int:
    """Remove what is still damaged of a list, and return the number of removed parts.

    Raises:
        InputError: If a run, a search or another removal uses the store.
    """
    listed = set(damages)
    with removing(store, "store repair") as users:
        if users:
            raise InputError(
                f"store {store.location} is used by {users}; nothing was removed: wait until it "
                "has ended"
            )
        # The second look: a run may have computed a listed result again since.
        found = [damage for damage in find_damage(store) if damage in listed]
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


def _damaged_shards(store: Store) -> Iterator[Damage]:
    for name in store.files.names("shards"):
        if (match := SHARD_PATH.fullmatch(name)) and store.shard(match[2]) is None:
            yield Damage(name, "its images or labels are torn or altered")


def _damaged_results(store: Store) -> Iterator[Damage]:
    """Yield the damaged rows, and the altered blobs that rows name."""
    shards = (match[2] for n in store.files.names("shards") if (match := SHARD_PATH.fullmatch(n)))
    contents = ((shard_id, outline_of(store.shard(shard_id))) for shard_id in shards)
    expected = {shard_id: images for shard_id, images in contents if images is not None}
    compacted: dict[str, dict[str, str]] = defaultdict(dict)
    altered = set()
    for path, key, row, problem in _checked(store, expected):
        if row is not None and problem and _is_altered(store, row):
            altered.add(row.blob)
        if problem and ROW_PATH.fullmatch(path):
            yield Damage(path, f"row of {row.kind if row else 'a task'}: {problem}")
        elif problem:
            compacted[path][key] = problem
    for path, bad in compacted.items():
        whole = "" in bad
        sentence = next(iter(bad.values()))
        sentence = sentence if whole else f"{len(bad)} of its rows: {sentence}"
        yield Damage(path, sentence, frozenset() if whole else frozenset(bad))
    yield from (Damage(path, "its content is not what its name says") for path in sorted(altered))


def _checked(
    store: Store, expected: Mapping[str, Outline]
) -> Iterator[tuple[str, str, CommitRow | None, str | None]]:
    """Yield path, key and row of every row of every file, and the problem or None.

    The key is empty for a file in which no row can be found.
    """

    def check(entry: tuple[str, str, CommitRow | None]) -> str | None:
        row = entry[2]
        if row is None:
            return "torn or altered"
        return blob_problem(row, store.files.read(row.blob), expected)

    for batch in _batches(_entries(store)):
        for entry, problem in zip(batch, in_threads(check, batch), strict=True):
            yield *entry, problem


def _entries(store: Store) -> Iterator[tuple[str, str, CommitRow | None]]:
    """Yield path, key and row of every row, also of rows that a newer row of the key replaces."""
    for key in single_keys(store):
        yield row_path(key), key, bare(store.single_row(key))
    for file in store.compacted.refresh():
        if file.damaged and not file.keys:
            yield file.path, "", None
        else:
            yield from ((file.path, key, bare(row)) for key, row in file.rows())


def _batches(entries: Iterator[Item]) -> Iterator[list[Item]]:
    while batch := list(islice(entries, 1000)):
        yield batch


def _is_altered(store: Store, row: CommitRow) -> bool:
    """Return whether a blob exists with another content than its name says."""
    return store.files.info(row.blob) is not None and store.blob(row) is None
