"""The store: every committed result under its key, in a folder or a bucket.

    rows/ab/<key>.parquet         one commit row a task; its file name alone says that it is done
    compacted/<sha256>.parquet    many such rows in one file, once ``compact`` has run
    blobs/ab/<sha256>.*           AEs (Arrow IPC), confusions and predictions (Parquet), by content
    shards/ab/<shard id>.arrow    the clean images and labels, by content
    experiments/<id>.json         resolved specs and which keys make up their matrices
    searches/<id>/trial-<n>.json  the same of a search's trials, beside Optuna's study
    failures/ab/<key>.json        the last traceback of a task that failed

A blob is written before the row that names its hash; both writes are atomic. What is read is
checked against its hash, and anything torn, altered or foreign counts as missing. Two writers of
one key are harmless: each writes whole files, and the last row wins with the blob that it names.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np

from segtransfer.experiment.task import Task
from segtransfer.store import arrays
from segtransfer.store.arrays import Evaluation
from segtransfer.store.files import Files
from segtransfer.store.rows import (
    ROW_PATH,
    ROWS,
    CommitRow,
    CompactedRows,
    decode_row,
    encode_rows,
    row_path,
)
from segtransfer.tasks.data.shards import Shard

Checked = TypeVar("Checked")
SEARCHES = "searches"
SHARD_PATH = re.compile(r"shards/(..)/(\1[0-9a-f]{62})\.arrow")


@dataclass(frozen=True)
class Blob:
    """Arrays that are written and not yet committed: where (below the root), their hash, bytes."""

    path: str
    sha256: str
    nbytes: int


class Store:
    """One folder or bucket of results, for any number of readers and writers.

    Cheap to make and to pickle: the connection is made on first use. The credentials of a bucket
    are those of the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE).
    """

    def __init__(self, location: str) -> None:
        self.files = Files(location)
        self.location = self.files.location
        self.compacted = CompactedRows(self.files)

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return Store, (self.location,)

    @property
    def remote(self) -> bool:
        """Whether this is no local file system: then the actors write the blobs."""
        return self.files.remote

    def keys(self) -> set[str]:
        """Keys of all committed tasks, from listings and the key column of compacted rows."""
        # In this order: a row that is compacted meanwhile is found at one of the two places.
        single = {
            match[2] for name in self.files.names(ROWS) if (match := ROW_PATH.fullmatch(name))
        }
        return single | self.compacted.keys()

    def row(self, key: str) -> CommitRow | None:
        """The commit row of a task, None where it is missing or torn."""
        return self.single_row(key) or self.compacted.row(key)

    def single_row(self, key: str) -> CommitRow | None:
        """The row that lies in a file of its own; None where there is none, or it is torn."""
        return self._checked(row_path(key), lambda content: decode_row(content, key))

    def put_attack(self, image_ids: Sequence[str], images: np.ndarray) -> Blob:
        """Write the AEs of an attack, uint8 M x N x 3 x H x W; they count once committed."""
        return self._put(arrays.encode_images(image_ids, images), ".arrow")

    def put_evaluation(
        self, image_ids: Sequence[str], confusions: np.ndarray, predictions: np.ndarray
    ) -> Blob:
        """Write confusions int64 N x K x K and predictions uint8 N x H x W."""
        return self._put(arrays.encode_evaluation(image_ids, confusions, predictions), ".parquet")

    def commit(self, task: Task, blob: Blob, report: dict[str, Any]) -> None:
        """Write the row of a task whose blob is written: from here on it is done."""
        attack = json.dumps(task.attack.identity()) if task.attack else None
        row = CommitRow(
            task.key,
            task.kind,
            blob.path,
            blob.sha256,
            report,
            _now(),
            model=task.model,
            shard=task.shard_id,
            attack=attack,
            images=task.depends_on,
        )
        self.files.write(row_path(task.key), encode_rows([row]))

    def commit_attack(
        self, task: Task, shard: Shard, images: np.ndarray, report: dict[str, Any]
    ) -> None:
        """Keep the AEs of an attack task: blob first, then the row."""
        self.commit(task, self.put_attack(shard.image_ids, images), report)

    def commit_evaluation(
        self,
        task: Task,
        shard: Shard,
        confusions: np.ndarray,
        predictions: np.ndarray,
        report: dict[str, Any],
    ) -> None:
        """Keep the confusion matrices and predictions of an evaluation task."""
        blob = self.put_evaluation(shard.image_ids, confusions, predictions)
        self.commit(task, blob, report)

    def attack_images(self, key: str) -> np.ndarray | None:
        """The AEs of a committed attack, uint8 M x N x 3 x H x W for the M that it made of each
        image; None where missing or altered."""
        row = self.row(key)
        content = None if row is None else self.blob(row)
        return None if content is None else arrays.decode_images(content)[1]

    def evaluation(self, key: str) -> Evaluation | None:
        """A committed evaluation; None where missing or altered."""
        row = self.row(key)
        content = None if row is None else self.blob(row)
        return None if content is None else arrays.decode_evaluation(content)

    def blob(self, row: CommitRow) -> bytes | None:
        """The bytes a row names; None where they are missing or have another hash."""

        def right(content: bytes) -> bytes | None:
            return content if hashlib.sha256(content).hexdigest() == row.sha256 else None

        return self._checked(row.blob, right)

    def put_shard(self, shard: Shard) -> None:
        """Keep a shard's clean images and labels, so that the store can be read on its own."""
        if self.shard(shard.shard_id) is None:
            self.files.write(shard_path(shard.shard_id), arrays.encode_shard(shard))

    def shard(self, shard_id: str) -> Shard | None:
        """A kept shard; None where missing or altered (its id is the hash of its content)."""
        path = shard_path(shard_id)
        return self._checked(path, lambda content: arrays.decode_shard(shard_id, content))

    def save_experiment(self, identity: str, content: dict[str, Any]) -> None:
        """Keep an experiment's resolved spec and the cells of its matrices."""
        text = json.dumps(content, indent=1, sort_keys=True)
        self.files.write(f"experiments/{identity}.json", text.encode())

    def experiments(self) -> dict[str, dict[str, Any]]:
        """Every kept experiment by identity, oldest first."""
        infos = [info for info in self.files.infos("experiments") if info.path.endswith(".json")]
        infos.sort(key=lambda info: (info.mtime_ns, info.path))
        contents = {
            info.path[len("experiments/") : -5]: self.files.read(info.path) for info in infos
        }
        parsed = {key: _parse(text) for key, text in contents.items() if text is not None}
        return {key: content for key, content in parsed.items() if content is not None}

    def save_trial(self, search: str, number: int, content: dict[str, Any]) -> None:
        """Keep what a trial of a search tried and the cells of its matrices."""
        text = json.dumps(content, sort_keys=True)
        self.files.write(f"{SEARCHES}/{search}/trial-{number}.json", text.encode())

    def trial(self, search: str, number: int) -> dict[str, Any] | None:
        """What is kept of a trial; None where that is missing or torn."""
        content = self.files.read(f"{SEARCHES}/{search}/trial-{number}.json")
        return None if content is None else _parse(content)

    def trials(self) -> dict[str, dict[str, Any] | None]:
        """What is kept of every trial of every search, by path; None where it is torn."""
        names = [name for name in self.files.names(SEARCHES) if name.endswith(".json")]
        contents = {name: self.files.read(name) for name in names}
        return {name: None if text is None else _parse(text) for name, text in contents.items()}

    def record_failure(self, key: str, kind: str, message: str) -> None:
        """Keep the traceback of a failed task; a failed task counts as not done."""
        text = json.dumps({"key": key, "kind": kind, "message": message, "at": _now()}, indent=1)
        self.files.write(f"failures/{key[:2]}/{key}.json", text.encode())

    def failure(self, key: str) -> dict[str, Any] | None:
        """The last failure of a task, ``kind``, ``message`` and when; None where none is kept."""
        content = self.files.read(f"failures/{key[:2]}/{key}.json")
        return None if content is None else _parse(content)

    def _checked(self, path: str, check: Callable[[bytes], Checked | None]) -> Checked | None:
        """What ``check`` makes of a file; None where it is missing, or refused and not changing."""
        # An object that is replaced between asking for its size and for its bytes arrives cut
        # short, again and again where two drivers write it; a damaged one stays as it is.
        before = None
        while (content := self.files.read(path)) not in (None, before):
            if (checked := check(content)) is not None:
                return checked
            before = content
        return None

    def _put(self, content: bytes, suffix: str) -> Blob:
        digest = hashlib.sha256(content).hexdigest()
        path = f"blobs/{digest[:2]}/{digest}{suffix}"
        # Written even where it is there already: the old one may be damaged, and the new time
        # keeps gc away until its row is written.
        self.files.write(path, content)
        return Blob(path, digest, len(content))


def shard_path(shard_id: str) -> str:
    return f"shards/{shard_id[:2]}/{shard_id}.arrow"


def _parse(text: bytes) -> dict[str, Any] | None:
    """A JSON mapping; None where it is torn."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
