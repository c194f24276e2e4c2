"""Commit rows: alone in a file while they are new, many to a file once compacted.

    rows/ab/<key>.parquet            one row a task; its name alone says that the task is done
    compacted/<sha256>.parquet       many rows by key; the key column alone is read for planning

A row alone is newer than a compacted one of the same key, and wins.
"""

import hashlib
import io
import json
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from segtransfer.store.files import Files, StoreError

ROWS, COMPACTED = "rows", "compacted"
ROW_PATH = re.compile(r"rows/(..)/(\1[0-9a-f]{62})\.parquet")
COMPACTED_PATH = re.compile(r"compacted/([0-9a-f]{64})\.parquet")
BLOB_PATH = re.compile(r"blobs/(..)/(\1[0-9a-f]{62})\.(?:arrow|parquet)")

ROWS_PER_FILE = 20_000
ROWS_PER_GROUP = 64  # one of them is read for one row: small, and the footer still is

_REQUIRED = ("key", "kind", "blob", "sha256", "created", "report")
_OPTIONAL = ("model", "shard", "attack", "images")
_SCHEMA = pa.schema([(name, pa.string()) for name in (*_REQUIRED, *_OPTIONAL, "row_sha256")])


@dataclass(frozen=True)
class CommitRow:
    """A commit row: the task, the blob that holds its arrays, and its report.

    ``attack`` is the attack's identity as JSON; ``images`` the key of the attack whose AEs an
    evaluation scored.
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
    return f"{ROWS}/{key[:2]}/{key}.parquet"


def encode_rows(rows: Sequence[CommitRow]) -> bytes:
    """Rows as one Parquet file, in the order given; every row carries the hash of its values."""
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
    """The row of a file of its own; None where torn, altered, or of another task."""
    try:
        table = pq.read_table(io.BytesIO(content), page_checksum_verification=True)
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
    """A row from its stored values; None where they are not what was written."""
    if not all(isinstance(record.get(name), str) for name in _REQUIRED):
        return None
    # An altered schema may give bytes where text was.
    if not all(isinstance(record.get(name), str | None) for name in _OPTIONAL):
        return None
    # Rows of older stores carry no hash of their own; pages and blobs are checked all the same.
    if record.get("row_sha256") not in (None, _hash(record)):
        return None
    # A row names its blob by content, and nothing outside the store.
    blob = BLOB_PATH.fullmatch(record["blob"])
    if blob is None or blob[2] != record["sha256"]:
        return None
    try:
        report = json.loads(record["report"])
    except ValueError:
        return None
    plain = {name: record.get(name) for name in (*_REQUIRED, *_OPTIONAL) if name != "report"}
    return CommitRow(**plain, report=report)  # type: ignore[arg-type]


class CompactedFile:
    """One file of compacted rows, opened: its keys, and rows on demand."""

    def __init__(self, files: Files, path: str) -> None:
        """Reads the key column; raises FileNotFoundError where the file is gone.

        ``damaged`` where it is torn or altered; its keys are then none.
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
        return set(self._places)

    def row(self, key: str) -> CommitRow | None:
        """One row; None where it is not here, or altered."""
        if key not in self._places:
            return None
        group, place = divmod(self._places[key], ROWS_PER_GROUP)
        records = self._group(group)
        row = _row(records[place]) if place < len(records) else None
        return row if row is not None and row.key == key else None

    def rows(self) -> Iterator[tuple[str, CommitRow | None]]:
        """All keys with their rows, None where altered."""
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
        """Damaged bytes count as missing; a failing network or a vanished file must not."""
        if self._files.info(self.path) is None:
            raise FileNotFoundError(self.path) from error
        if not self._files.damaged(error):
            raise error
        self.damaged = True


class CompactedRows:
    """All compacted rows of a store; the files are kept open."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._open: dict[str, CompactedFile] = {}

    def refresh(self) -> list[CompactedFile]:
        """The files there are now; those of another compaction may come and go meanwhile."""
        for _ in range(100):
            listed = sorted(n for n in self._files.names(COMPACTED) if COMPACTED_PATH.fullmatch(n))
            opened = self._open
            try:
                found = {
                    path: opened[path] if path in opened else CompactedFile(self._files, path)
                    for path in listed
                }
            except FileNotFoundError:
                continue  # replaced since it was listed: what replaced it is there by now
            self._open = found
            return list(found.values())
        raise StoreError(
            None,
            f"a file of compacted rows of {self._files.location} vanishes each "
            "time it is opened: look for broken links below compacted/",
        )

    def keys(self) -> set[str]:
        return set().union(*(file.keys for file in self.refresh()))

    def row(self, key: str) -> CommitRow | None:
        """The newest row of a key; None where there is none that is intact.

        Lists anew each time: another compaction may have put a newer row elsewhere.
        """
        while True:
            try:
                found = [file.row(key) for file in self.refresh()]
            except FileNotFoundError:
                continue  # replaced since it was listed
            rows = [row for row in found if row is not None]
            return max(rows, key=lambda row: row.created, default=None)
