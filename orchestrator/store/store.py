"""The store: every committed result under its key, in a folder or a bucket.

    rows/ab/<key>.parquet         one commit row per task; its name says that the task is done
    compacted/<sha256>.parquet    many rows in one file, after ``compact``
    blobs/ab/<sha256>.*           AEs (Arrow IPC), confusions and predictions (Parquet), by content
    shards/ab/<shard id>.arrow    the clean images and labels, by content
    experiments/<id>.json         resolved specs, and the keys of their matrices
    searches/<id>/trial-<n>.json  the same per trial of a search, beside Optuna's study
    failures/ab/<key>.json        the last traceback of a failed task

A blob is written before the row that names its hash; both writes are atomic. Every read is checked
against its hash, and a torn, altered or foreign file counts as missing. Two writers of one key are
harmless: each writes whole files, and the last row takes precedence with the blob that it names.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from segtransfer.experiment.task import Task
from segtransfer.store import arrays
from segtransfer.store.arrays import Evaluation
from segtransfer.store.files import Files
from segtransfer.store.listing import experiments_table
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

if TYPE_CHECKING:
    import pandas as pd

Checked = TypeVar("Checked")
SEARCHES = "searches"
SHARD_PATH = re.compile(r"shards/(..)/(\1[0-9a-f]{62})\.arrow")


@dataclass(frozen=True)
class Blob:
    """A written file of arrays, before its row is committed.

    Attributes:
        path: The path below the root of the store.
        sha256: The hash of the content.
        nbytes: The size in bytes.
    """

    path: str
    sha256: str
    nbytes: int


class Store:
    """A folder or bucket of results, for any number of readers and writers.

    A store is cheap to create and to pickle, because the connection is made on first use. The
    credentials of a bucket come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    AWS_PROFILE). Every method raises StoreError if the folder or bucket cannot be read or written.

    Attributes:
        location: The resolved path of the folder, or the URL of the bucket.
    """

    def __init__(self, location: str) -> None:
        """Open a store. The first write creates the folder.

        Args:
            location: A folder, or the URL of a folder or bucket, for example
                ``s3://bucket/folder``.

        Raises:
            InputError: The URL is of another kind, or holds credentials.
        """
        self.files = Files(location)
        self.location = self.files.location
        self.compacted = CompactedRows(self.files)

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return Store, (self.location,)

    @property
    def remote(self) -> bool:
        """Return whether the store is a bucket rather than a folder."""
        return self.files.remote

    def keys(self) -> set[str]:
        """Return the keys of all committed tasks, from listings and compacted key columns."""
        # In this order, so that a row that is compacted between the listings is found.
        single = {
            match[2] for name in self.files.names(ROWS) if (match := ROW_PATH.fullmatch(name))
        }
        return single | self.compacted.keys()

    def row(self, key: str) -> CommitRow | None:
        """Return the commit row of the task with this key.

        Returns:
            The newest intact row, or None if the task has no result.
        """
        return self.single_row(key) or self.compacted.row(key)

    def single_row(self, key: str) -> CommitRow | None:
        """Return the commit row of a task from its single-row file; None if missing or damaged."""
        return self._checked(row_path(key), lambda content: decode_row(content, key))

    def put_attack(self, image_ids: Sequence[str], images: np.ndarray) -> Blob:
        """Write the AEs of an attack. They count as stored after ``commit``.

        Args:
            image_ids: The ids of the N images.
            images: The AEs, uint8 M x N x 3 x H x W for the M variants of the attack.

        Returns:
            The written blob, for ``commit``.
        """
        return self._put(arrays.encode_images(image_ids, images), ".arrow")

    def put_evaluation(
        self, image_ids: Sequence[str], confusions: np.ndarray, predictions: np.ndarray
    ) -> Blob:
        """Write the scores of an evaluation. They count as stored after ``commit``.

        Args:
            image_ids: The ids of the N images.
            confusions: int64 N x K x K, labels by predictions.
            predictions: uint8 N x H x W class indices.

        Returns:
            The written blob, for ``commit``.
        """
        return self._put(arrays.encode_evaluation(image_ids, confusions, predictions), ".parquet")

    def commit(self, task: Task, blob: Blob, report: dict[str, Any]) -> None:
        """Write the commit row of a task. The task then has a result.

        Args:
            task: The task.
            blob: The written blob with the task's arrays.
            report: The cost, numerics and statistics of the task, as JSON values.
        """
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
        """Store the AEs of an attack task: the blob, then the row.

        Args:
            task: The attack task.
            shard: The shard of the N clean images.
            images: The AEs, uint8 M x N x 3 x H x W for the M variants of the attack.
            report: The cost, numerics and statistics of the task, as JSON values.
        """
        self.commit(task, self.put_attack(shard.image_ids, images), report)

    def commit_evaluation(
        self,
        task: Task,
        shard: Shard,
        confusions: np.ndarray,
        predictions: np.ndarray,
        report: dict[str, Any],
    ) -> None:
        """Store the scores of an evaluation task: the blob, then the row.

        Args:
            task: The evaluation task.
            shard: The shard of the N images.
            confusions: int64 N x K x K, labels by predictions.
            predictions: uint8 N x H x W class indices.
            report: The cost and numerics of the task, as JSON values.
        """
        blob = self.put_evaluation(shard.image_ids, confusions, predictions)
        self.commit(task, blob, report)

    def attack_images(self, key: str) -> np.ndarray | None:
        """Return the AEs of the committed attack task with this key.

        Returns:
            uint8 M x N x 3 x H x W for the M variants of the attack, or None if the row or the
            blob is missing or damaged.
        """
        row = self.row(key)
        content = None if row is None or row.kind != "attack" else self.blob(row)
        decoded = None if content is None else arrays.decode_images(content)
        return None if decoded is None else decoded[1]

    def evaluation(self, key: str) -> Evaluation | None:
        """Return the scores of the committed evaluation task with this key.

        Returns:
            The scores without ``created``, or None if the row or blob is missing or damaged.
        """
        row = self.row(key)
        content = None if row is None or row.kind != "evaluate" else self.blob(row)
        if row is None or content is None:
            return None
        evaluation = arrays.decode_evaluation(content)
        return None if evaluation is None else replace(evaluation, report=row.report)

    def blob(self, row: CommitRow) -> bytes | None:
        """Return the bytes of the blob of a row of this store.

        Returns:
            The bytes, or None if the blob is missing or has another hash than in the row.
        """

        def intact(content: bytes) -> bytes | None:
            return content if hashlib.sha256(content).hexdigest() == row.sha256 else None

        return self._checked(row.blob, intact)

    def put_shard(self, shard: Shard) -> None:
        """Store a shard's clean images and labels, so that results need no data set.

        An intact stored shard is kept.
        """
        if self.shard(shard.shard_id) is None:
            self.files.write(shard_path(shard.shard_id), arrays.encode_shard(shard))

    def shard(self, shard_id: str) -> Shard | None:
        """Return the stored shard with this id, the hash of the shard's content.

        Returns:
            None if the shard is missing or its content has another hash.
        """
        path = shard_path(shard_id)
        return self._checked(path, lambda content: arrays.decode_shard(shard_id, content))

    def save_experiment(self, identity: str, content: dict[str, Any]) -> None:
        """Store the description of an experiment, in place of an earlier description.

        Args:
            identity: The experiment's identity.
            content: The manifest as JSON values: resolved spec, models, and cells of the matrices.
        """
        text = json.dumps(content, indent=1, sort_keys=True)
        self.files.write(f"experiments/{identity}.json", text.encode())

    def experiments(self) -> "pd.DataFrame":
        """Return a table of the stored experiments, oldest first; no result is read.

        Returns:
            A row per ``identity``: ``name``, ``dataset``, lists of ``attacks``, ``sources`` and
            ``targets``, ``seed``, ``done`` (the stored share of the tasks), ``written`` (time of
            the last run, UTC), ``damage`` (why the description cannot be read, else empty).
        """
        return experiments_table(self.files.infos("experiments"), self.description, self.keys())

    def description(self, identity: str) -> dict[str, Any] | None:
        """Return the description of the experiment with this whole identity.

        Returns:
            JSON values, not validated; None if the file is missing or is no JSON mapping.
        """
        content = self.files.read(f"experiments/{identity}.json")
        return None if content is None else parse(content)

    def descriptions(self) -> dict[str, dict[str, Any]]:
        """Return the descriptions of all stored experiments, oldest first.

        Returns:
            JSON values by identity, not validated. Files without a JSON mapping are left out.
        """
        infos = [info for info in self.files.infos("experiments") if info.path.endswith(".json")]
        infos.sort(key=lambda info: (info.mtime_ns, info.path))
        names = [info.path.removeprefix("experiments/").removesuffix(".json") for info in infos]
        return {n: content for n in names if (content := self.description(n)) is not None}

    def save_trial(self, search: str, number: int, content: dict[str, Any]) -> None:
        """Store the description of a search's trial, in place of an earlier description.

        Args:
            search: The identity of the search.
            number: The number of the trial.
            content: The manifest of the trial as JSON values: its attack and the cells.
        """
        text = json.dumps(content, sort_keys=True)
        self.files.write(f"{SEARCHES}/{search}/trial-{number}.json", text.encode())

    def trial(self, search: str, number: int) -> dict[str, Any] | None:
        """Return the description of a search's trial, as ``save_trial`` stored it.

        Returns:
            JSON values, not validated; None if the file is missing or is no JSON mapping.
        """
        content = self.files.read(f"{SEARCHES}/{search}/trial-{number}.json")
        return None if content is None else parse(content)

    def trials(self) -> dict[str, dict[str, Any] | None]:
        """Return the descriptions of all trials of all searches.

        Returns:
            JSON values by path below the root; None for a file without a JSON mapping.
        """
        names = [name for name in self.files.names(SEARCHES) if name.endswith(".json")]
        contents = {name: self.files.read(name) for name in names}
        return {name: None if text is None else parse(text) for name, text in contents.items()}

    def record_failure(self, key: str, kind: str, message: str) -> None:
        """Store the last failure of a task. A failed task has no result.

        Args:
            key: The key of the task.
            kind: The class of the failure.
            message: The traceback.
        """
        text = json.dumps({"key": key, "kind": kind, "message": message, "at": _now()}, indent=1)
        self.files.write(f"failures/{key[:2]}/{key}.json", text.encode())

    def failure(self, key: str) -> dict[str, Any] | None:
        """Return the last failure of the task with this key.

        Returns:
            ``key``, ``kind``, ``message`` and the time ``at`` in ISO 8601. None if no failure is
            stored.
        """
        content = self.files.read(f"failures/{key[:2]}/{key}.json")
        return None if content is None else parse(content)

    def _checked(self, path: str, check: Callable[[bytes], Checked | None]) -> Checked | None:
        """Return the result of ``check`` on a file; None for a missing or damaged file."""
        # A bucket's object that is replaced between the request for its size and the request for
        # its bytes arrives truncated, repeatedly if two drivers write the object. A damaged object
        # has the same bytes at two reads.
        before = None
        while (content := self.files.read(path)) not in (None, before):
            if (checked := check(content)) is not None:
                return checked
            before = content
        return None

    def _put(self, content: bytes, suffix: str) -> Blob:
        digest = hashlib.sha256(content).hexdigest()
        path = f"blobs/{digest[:2]}/{digest}{suffix}"
        # An existing blob is written again, because its bytes may be damaged, and because the new
        # time protects the blob from gc until its row is written.
        self.files.write(path, content)
        return Blob(path, digest, len(content))


def shard_path(shard_id: str) -> str:
    """Return the path of a shard below the store's root."""
    return f"shards/{shard_id[:2]}/{shard_id}.arrow"


def parse(text: bytes) -> dict[str, Any] | None:
    """Return a JSON mapping, or None for bytes that are no JSON mapping."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
