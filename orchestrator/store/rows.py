"""Commit rows: one row per file while new, many rows per file after compaction.

    rows/ab/<key>.parquet            one row per task; its name alone says that the task is done
    compacted/<sha256>.parquet       many rows by key; planning reads the key column alone

A single row is newer than a compacted row of the same key, and takes precedence.
"""

import hashlib
import io
import json
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from segtransfer.store.files import Files, StoreError

ROWS, COMPACTED = "rows", "compacted"
ROW_PATH = re.compile(r"rows/(..)/(\1[0-9a-f]{62})\.parquet")
COMPACTED_PATH = re.compile(r"compacted/([0-9a-f]{64})\.parquet")
BLOB_PATH = re.compile(r"blobs/(..)/(\1[0-9a-f]{62})\.(?:arrow|parquet)")

ROW_KINDS = ("attack", "evaluate")
ROWS_PER_FILE = 20_000
ROWS_PER_GROUP = 64  # a whole group is read for one row, and the footer grows with the groups

_REQUIRED = ("key", "kind", "blob", "sha256", "created", "report")
_OPTIONAL = ("model", "shard", "attack", "images")
_SCHEMA = pa.schema([(name, pa.string()) for name in (*_REQUIRED, *_OPTIONAL, "row_sha256")])


@dataclass(frozen=True)
class CommitRow:
    """The commit row of a task.

    Attributes:
        key: The key of the task.
        kind: ``attack`` or ``evaluate``.
        blob: The path of the blob with the task's arrays.
        sha256: The hash of the blob.
        report: The cost, numerics and statistics of the task.
        created: The time of the commit, in ISO 8601.
        model: The ``model_key`` of the task's model.
        shard: The task's shard.
        attack: The attack's identity as JSON.
        images: The key of the attack whose AEs an evaluation scored.
    """

    key: str
    kind: str
    blob: str
    sha256: str
    report: dict[str, Any]
    created: str
    model: str | None = None
    shard: str | None = None
    attack: str | None = None
    images: str | None = None


def row_path(key: str) -> str:
    """Return the path of a task's single row."""
    return f"{ROWS}/{key[:2]}/{key}.parquet"


def encode_rows(rows: Sequence[CommitRow]) -> bytes:
    """Return commit rows as a Parquet file.

    Args:
        rows: The rows, whose order is kept.

    Returns:
        The bytes of the file. Each row has the sha256 of its values.
    """
    records = [_record(row) for row in rows]
    sink = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist(records, _SCHEMA),
        sink,
        write_page_checksum=True,
        compression="zstd",
        row_group_size=ROWS_PER_GROUP,
    )
    return sink.getvalue()


def decode_row(content: bytes, key: str) -> CommitRow | None:
    """Read the row of a single-row file.

    Args:
        content: The bytes of the file.
        key: The key in the name of the file.

    Returns:
        None if the file is damaged, or its row has another key.
    """
    try:
        buffer = pa.BufferReader(content)
        table = pq.ParquetFile(buffer, page_checksum_verification=True).read(use_threads=False)
        (record,) = table.to_pylist()
    except Exception:  # altered bytes break Arrow's readers in many ways
        return None
    row = _row(record)
    return row if row is not None and row.key == key else None


def _record(row: CommitRow) -> dict[str, str | None]:
    record = {name: getattr(row, name) for name in (*_REQUIRED, *_OPTIONAL)}
    record["report"] = json.dumps(row.report)
    return record | {"row_sha256": _hash(record)}


def _hash(record: dict[str, str | None]) -> str:
    values = [record.get(name) for name in (*_REQUIRED, *_OPTIONAL)]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _row(record: dict[str, Any]) -> CommitRow | None:
    """Return a row from its stored values, or None for damaged values."""
    if not all(isinstance(record.get(name), str) for name in _REQUIRED):
        return None
    # An altered schema may give bytes in place of text.
    if not all(isinstance(record.get(name), str | None) for name in _OPTIONAL):
        return None
    # Rows of older stores have no hash of their values; pages and blobs have checksums anyway.
    if record.get("row_sha256") not in (None, _hash(record)):
        return None
    # The path of the blob follows from its hash, so that no row reads a file outside the store.
    blob = BLOB_PATH.fullmatch(record["blob"])
    if blob is None or blob[2] != record["sha256"]:
        return None
    if record["kind"] not in ROW_KINDS or not _is_time(record["created"]):
        return None
    try:
        report = json.loads(record["report"])
    except (ValueError, RecursionError):
        return None
    if not isinstance(report, dict):
        return None
    plain = {name: record.get(name) for name in (*_REQUIRED, *_OPTIONAL) if name != "report"}
    return CommitRow(**plain, report=report)  # type: ignore[arg-type]


def _is_time(text: str) -> bool:
    """Return whether a text is a time with its zone, in ISO 8601."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


class CompactedFile:
    """An open file of compacted rows. Keys are read at once, rows on demand.

    Attributes:
        path: The path below the root of the store.
        damaged: Whether damaged bytes were read.
    """

    def __init__(self, files: Files, path: str) -> None:
        """Open a file and read its key column. A damaged file has no keys.

        Args:
            files: The files of the store.
            path: The path below the root.

        Raises:
            FileNotFoundError: No file has this path.
        """
        self.path = path
        self.damaged = False
        self._files = files
        self._places: dict[str, int] = {}
        self._lock = threading.Lock()  # Arrow's reader serves one thread at a time
        try:
            self._parquet = pq.ParquetFile(
                files.open(path), pre_buffer=True, page_checksum_verification=True
            )
            keys = self._parquet.read(columns=["key"])["key"].to_pylist()
            self._places = {key: place for place, key in enumerate(keys)}
        except Exception as error:
            self._must_be_damage(error)

    @property
    def keys(self) -> set[str]:
        """Return the keys of all rows, also of damaged rows."""
        return set(self._places)

    def row(self, key: str) -> CommitRow | None:
        """Return the row of a key; None for a missing or damaged row."""
        if key not in self._places:
            return None
        group, place = divmod(self._places[key], ROWS_PER_GROUP)
        records = self._group(group)
        row = _row(records[place]) if place < len(records) else None
        return row if row is not None and row.key == key else None

    def rows(self) -> Iterator[tuple[str, CommitRow | None]]:
        """Yield all keys with their rows, in the order of the file.

        Yields:
            The key and the row, None for a damaged row.
        """
        by_group = groupby(self._places.items(), key=lambda item: item[1] // ROWS_PER_GROUP)
        for group, items in by_group:
            records = self._group(group)
            for key, place in items:
                number = place % ROWS_PER_GROUP
                row = _row(records[number]) if number < len(records) else None
                yield key, row if row is not None and row.key == key else None

    def _group(self, number: int) -> list[dict[str, Any]]:
        try:
            with self._lock:
                return self._parquet.read_row_group(number, use_threads=False).to_pylist()
        except Exception as error:
            self._must_be_damage(error)
            return []

    def _must_be_damage(self, error: Exception) -> None:
        """Set ``damaged`` for damaged bytes; raise the error of a network or a deleted file."""
        if self._files.info(self.path) is None:
            raise FileNotFoundError(self.path) from error
        if not self._files.damaged(error):
            raise error
        self.damaged = True


class CompactedRows:
    """All compacted rows of a store. Files stay open between calls."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._open: dict[str, CompactedFile] = {}

    def refresh(self) -> list[CompactedFile]:
        """List the files again, open new files, and return all open files.

        Another compaction may replace files at the same time.

        Raises:
            StoreError: A listed file is missing at each of 100 attempts.
        """
        for _ in range(100):
            listed = sorted(
                n for n in self._files.regular(COMPACTED) if COMPACTED_PATH.fullmatch(n)
            )
            opened = self._open
            try:
                current = {
                    path: opened[path] if path in opened else CompactedFile(self._files, path)
                    for path in listed
                }
            except FileNotFoundError:
                continue  # replaced after the listing; the next listing has the replacement
            self._open = current
            return list(current.values())
        raise StoreError(
            None,
            f"a file of compacted rows of store {self._files.location} is listed but cannot be "
            "opened: check the disk",
        )

    def keys(self) -> set[str]:
        """Return the keys of all compacted rows."""
        return set().union(*(file.keys for file in self.refresh()))

    def row(self, key: str) -> CommitRow | None:
        """Return the newest intact row of a key, or None.

        The files are listed at each call, because another compaction may write a newer row.

        Args:
            key: The key of the task.
        """
        while True:
            try:
                candidates = [file.row(key) for file in self.refresh()]
            except FileNotFoundError:
                continue  # replaced after the listing
            rows = [row for row in candidates if row is not None]
            return max(rows, key=lambda row: row.created, default=None)
