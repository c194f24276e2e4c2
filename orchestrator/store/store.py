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
    """Arrays that are written and not yet committed: path below the root, hash, and bytes."""

    path: str
    sha256: str
    nbytes: int


class Store:
    """A folder or bucket of results, for any number of readers and writers.

    A store is cheap to create and to pickle, because the connection is made on first use. The
    credentials of a bucket come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    AWS_PROFILE).
    """

    def __init__(self, location: str) -> None:
        """Open a store, which is created by its first write.

        Args:
            location: A folder, or the URL of a folder or bucket.

        Raises:
            InputError: If the URL is of another kind, or holds credentials.
        """
        self.files = Files(location)
        self.location = self.files.location
        self.compacted = CompactedRows(self.files)

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return Store, (self.location,)

    @property
    def remote(self) -> bool:
        """Whether the store is a bucket, so that the model actors write the blobs."""
        return self.files.remote

    def keys(self) -> set[str]:
        """Return the keys of all committed tasks, from listings and compacted key columns."""
        # In this order, so that a row that is compacted meanwhile is found in one of the two.
        single = {
            match[2] for name in self.files.names(ROWS) if (match := ROW_PATH.fullmatch(name))
        }
        return single | self.compacted.keys()

    def row(self, key: str) -> CommitRow | None:
        """Return the commit row of a task.

        Args:
            key: The key of the task.

        Returns:
            The newest intact row, or None if the task is not done.
        """
        return self.single_row(key) or self.compacted.row(key)

    def single_row(self, key: str) -> CommitRow | None:
        """Return the commit row of a task from its own file; None if missing or damaged."""
        return self._checked(row_path(key), lambda content: decode_row(content, key))

    def put_attack(self, image_ids: Sequence[str], images: np.ndarray) -> Blob:
        """Write the AEs of an attack, which are not stored before their commit.

        Args:
            image_ids: The ids of the N images.
            images: The AEs, uint8 M x N x 3 x H x W for the M variants of the attack.

        Returns:
            The written blob, for ``commit``.

        Raises:
            StoreError: If the store cannot be written.
        """
        return self._put(arrays.encode_images(image_ids, images), ".arrow")

    def put_evaluation(
        self, image_ids: Sequence[str], confusions: np.ndarray, predictions: np.ndarray
    ) -> Blob:
        """Write an evaluation, which is not stored before its commit.

        Args:
            image_ids: The ids of the N images.
            confusions: int64 N x K x K, labels by predictions.
            predictions: uint8 N x H x W class indices.

        Returns:
            The written blob, for ``commit``.

        Raises:
            StoreError: If the store cannot be written.
        """
        return self._put(arrays.encode_evaluation(image_ids, confusions, predictions), ".parquet")

    def commit(self, task: Task, blob: Blob, report: dict[str, Any]) -> None:
        """Write the commit row of a task, after which the task is done.

        Args:
            task: The task.
            blob: The written blob with the task's arrays.
            report: The cost, numerics and statistics of the task, as JSON values.

        Raises:
            StoreError: If the store cannot be written.
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
            shard: The shard of the N clean images.
            confusions: int64 N x K x K, labels by predictions.
            predictions: uint8 N x H x W class indices.
            report: The cost and numerics of the task, as JSON values.
        """
        blob = self.put_evaluation(shard.image_ids, confusions, predictions)
        self.commit(task, blob, report)

    def attack_images(self, key: str) -> np.ndarray | None:
        """Return the AEs of a committed attack.

        Args:
            key: The key of the attack task.

        Returns:
            uint8 M x N x 3 x H x W for the M variants of the attack, or None if the row or the
            blob is missing or damaged.
        """
        row = self.row(key)
        content = None if row is None or row.kind != "attack" else self.blob(row)
        decoded = None if content is None else arrays.decode_images(content)
        return None if decoded is None else decoded[1]

    def evaluation(self, key: str) -> Evaluation | None:
        """Return the scores of a committed evaluation.

        Args:
            key: The key of the evaluation task.

        Returns:
            The confusion matrices, predictions and report, or None if the row or the blob is
            missing or damaged.
        """
        row = self.row(key)
        content = None if row is None or row.kind != "evaluate" else self.blob(row)
        if row is None or content is None:
            return None
        evaluation = arrays.decode_evaluation(content)
        return None if evaluation is None else replace(evaluation, report=row.report)

    def blob(self, row: CommitRow) -> bytes | None:
        """Return the bytes of a row's blob.

        Args:
            row: A commit row of this store.

        Returns:
            The bytes, or None if they are missing or have another hash than the row says.
        """

        def intact(content: bytes) -> bytes | None:
            return content if hashlib.sha256(content).hexdigest() == row.sha256 else None

        return self._checked(row.blob, intact)

    def put_shard(self, shard: Shard) -> None:
        """Store a shard's clean images and labels, which make the store readable on its own."""
        if self.shard(shard.shard_id) is None:
            self.files.write(shard_path(shard.shard_id), arrays.encode_shard(shard))

    def shard(self, shard_id: str) -> Shard | None:
        """Return a stored shard.

        Args:
            shard_id: The hash of the shard's content.

        Returns:
            The shard, or None if it is missing or its content has another hash.
        """
        path = shard_path(shard_id)
        return self._checked(path, lambda content: arrays.decode_shard(shard_id, content))

    def save_experiment(self, identity: str, content: dict[str, Any]) -> None:
        """Store the description of an experiment.

        Args:
            identity: The experiment's identity.
            content: The resolved spec, the models, and the cells of the matrices, as JSON values.
        """
        text = json.dumps(content, indent=1, sort_keys=True)
        self.files.write(f"experiments/{identity}.json", text.encode())

    def experiments(self) -> "pd.DataFrame":
        """Return a table of the stored experiments, described in ``experiments_table``."""
        return experiments_table(self.files.infos("experiments"), self.description, self.keys())

    def description(self, identity: str) -> dict[str, Any] | None:
        """Return the description of an experiment, None if it is missing or damaged."""
        content = self.files.read(f"experiments/{identity}.json")
        return None if content is None else parse(content)

    def descriptions(self) -> dict[str, dict[str, Any]]:
        """Return the description of every stored experiment by identity, oldest first."""
        infos = [info for info in self.files.infos("experiments") if info.path.endswith(".json")]
        infos.sort(key=lambda info: (info.mtime_ns, info.path))
        names = [info.path.removeprefix("experiments/").removesuffix(".json") for info in infos]
        return {n: content for n in names if (content := self.description(n)) is not None}

    def save_trial(self, search: str, number: int, content: dict[str, Any]) -> None:
        """Store the description of a search's trial.

        Args:
            search: The identity of the search.
            number: The number of the trial.
            content: The attack and the cells of its matrices, as JSON values.
        """
        text = json.dumps(content, sort_keys=True)
        self.files.write(f"{SEARCHES}/{search}/trial-{number}.json", text.encode())

    def trial(self, search: str, number: int) -> dict[str, Any] | None:
        """Return the description of a search's trial, None if it is missing or damaged."""
        content = self.files.read(f"{SEARCHES}/{search}/trial-{number}.json")
        return None if content is None else parse(content)

    def trials(self) -> dict[str, dict[str, Any] | None]:
        """Return the description of every trial of every search by path, None if damaged."""
        names = [name for name in self.files.names(SEARCHES) if name.endswith(".json")]
        contents = {name: self.files.read(name) for name in names}
        return {name: None if text is None else parse(text) for name, text in contents.items()}

    def record_failure(self, key: str, kind: str, message: str) -> None:
        """Store the last failure of a task; a failed task is not done.

        Args:
            key: The key of the task.
            kind: The class of the failure.
            message: The traceback.
        """
        text = json.dumps({"key": key, "kind": kind, "message": message, "at": _now()}, indent=1)
        self.files.write(f"failures/{key[:2]}/{key}.json", text.encode())

    def failure(self, key: str) -> dict[str, Any] | None:
        """Return the last failure of a task.

        Args:
            key: The key of the task.

        Returns:
            ``kind``, ``message`` and the time ``at``, or None if no failure is stored.
        """
        content = self.files.read(f"failures/{key[:2]}/{key}.json")
        return None if content is None else parse(content)

    def _checked(self, path: str, check: Callable[[bytes], Checked | None]) -> Checked | None:
        """Return the result of ``check`` on a file; None if it is missing or damaged."""
        # A bucket's object that is replaced between the request for its size and the request for
        # its bytes arrives truncated, repeatedly if two drivers write it. A damaged object gives
        # the same bytes twice.
        before = None
        while (content := self.files.read(path)) not in (None, before):
            if (checked := check(content)) is not None:
                return checked
            before = content
        return None

    def _put(self, content: bytes, suffix: str) -> Blob:
        digest = hashlib.sha256(content).hexdigest()
        path = f"blobs/{digest[:2]}/{digest}{suffix}"
        # Written even if it exists: the old blob may be damaged, and the new time protects the
        # blob from gc until its row is written.
        self.files.write(path, content)
        return Blob(path, digest, len(content))


def shard_path(shard_id: str) -> str:
    """Return the path of a shard below the store's root."""
    return f"shards/{shard_id[:2]}/{shard_id}.arrow"


def parse(text: bytes) -> dict[str, Any] | None:
    """Return a JSON mapping; None if it is damaged."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
