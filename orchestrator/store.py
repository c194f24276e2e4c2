"""The store: every committed result under its key, on any pyarrow filesystem.

    rows/ab/<key>.parquet         one commit row a task; its file name alone says that it is done
    blobs/ab/<sha256>.*           AEs (Arrow IPC), confusions and predictions (Parquet), by content
    shards/ab/<shard id>.arrow    the clean images and labels, by content
    experiments/<id>.json         resolved specs and which keys make up their matrices
    failures/ab/<key>.json        the last traceback of a task that failed

A blob is written before the row that names its hash; both writes are atomic. What is read is
checked against its hash, and anything torn, altered or foreign counts as missing.
"""

import hashlib
import io
import json
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from orchestrator.plan import Task
from tasks.data.shards import Shard


@dataclass(frozen=True)
class Row:
    """A commit row: the task, the blob that holds its arrays, and its report."""

    key: str
    kind: str
    blob: str
    sha256: str
    report: dict[str, Any]
    created: str


@dataclass(frozen=True)
class Evaluation:
    """Confusions int64 N x K x K and predictions uint8 N x H x W of one evaluation task."""

    image_ids: tuple[str, ...]
    confusions: np.ndarray
    predictions: np.ndarray


class Store:
    """One folder (or bucket) of results; safe for several readers and one writing driver."""

    def __init__(self, location: str) -> None:
        if "://" in location:
            self._fs, self._root = fs.FileSystem.from_uri(location)
            self.location = location
        else:
            self._fs, self._root = fs.LocalFileSystem(), str(Path(location).absolute())
            self.location = self._root
        self._local = isinstance(self._fs, fs.LocalFileSystem)

    def keys(self) -> set[str]:
        """Keys of all committed tasks, from a listing alone."""
        selector = fs.FileSelector(f"{self._root}/rows", recursive=True, allow_not_found=True)
        names = (info.base_name for info in self._fs.get_file_info(selector))
        return {name.removesuffix(".parquet") for name in names if name.endswith(".parquet")}

    def row(self, key: str) -> Row | None:
        """The commit row of a task, None where it is missing or torn."""
        content = self._read(self._sharded("rows", key, ".parquet"))
        if content is None:
            return None
        try:
            table = pq.read_table(io.BytesIO(content), page_checksum_verification=True)
            (values,) = table.to_pylist()
            report = json.loads(values.pop("report"))
            row = Row(report=report, **{k: values[k] for k in _ROW_FIELDS})
        except Exception:  # altered bytes break Arrow's readers in many ways
            return None
        texts = all(isinstance(getattr(row, name), str) for name in _ROW_FIELDS)
        return row if texts and row.key == key else None

    def commit_attack(
        self, task: Task, shard: Shard, images: np.ndarray, report: dict[str, Any]
    ) -> None:
        """Keep the AEs of an attack task: blob first, then the row."""
        self._commit(task, _encode_images(shard.image_ids, images), ".arrow", report)

    def commit_evaluation(
        self,
        task: Task,
        shard: Shard,
        confusions: np.ndarray,
        predictions: np.ndarray,
        report: dict[str, Any],
    ) -> None:
        """Keep the confusion matrices and predictions of an evaluation task."""
        tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(confusions))
        table = _image_table(shard.image_ids, predictions, "prediction").append_column(
            "confusion", tensor
        )
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        self._commit(task, sink.getvalue(), ".parquet", report)

    def attack_images(self, key: str) -> np.ndarray | None:
        """The AEs of a committed attack, uint8 M x N x 3 x H x W for the M that it made of each
        image; None where missing or altered."""
        content = self._blob(key)
        return None if content is None else _decode_images(content)

    def evaluation(self, key: str) -> Evaluation | None:
        """A committed evaluation; None where missing or altered."""
        content = self._blob(key)
        if content is None:
            return None
        table = pq.read_table(io.BytesIO(content))
        confusions = table["confusion"].combine_chunks().to_numpy_ndarray()
        return Evaluation(
            image_ids=tuple(table["image_id"].to_pylist()),
            confusions=confusions,
            predictions=_arrays(table, "prediction"),
        )

    def put_shard(self, shard: Shard) -> None:
        """Keep a shard's clean images and labels, so that the store can be read on its own."""
        path = self._sharded("shards", shard.shard_id, ".arrow")
        if self.shard(shard.shard_id) is not None:
            return
        table = _image_table(shard.image_ids, shard.images, "image")
        table = table.append_column(
            "label", pa.array([label.tobytes() for label in shard.labels], pa.large_binary())
        )
        table = table.append_column("sequence", pa.array(shard.sequences))
        table = table.replace_schema_metadata({"group": str(shard.group)})
        self._write(path, _ipc(table))

    def shard(self, shard_id: str) -> Shard | None:
        """A kept shard; None where missing or altered (its id is the hash of its content)."""
        content = self._read(self._sharded("shards", shard_id, ".arrow"))
        if content is None:
            return None
        try:
            table = pa.ipc.open_file(content).read_all()
            table.validate(full=True)
            shard = Shard(
                shard_id,
                group=int(table.schema.metadata[b"group"]),
                image_ids=tuple(table["image_id"].to_pylist()),
                sequences=tuple(table["sequence"].to_pylist()),
                images=_arrays(table, "image"),
                labels=_arrays(table, "label"),
            )
        except Exception:  # altered bytes break Arrow's readers in many ways
            return None
        return shard if shard.intact() else None

    def save_experiment(self, identity: str, content: dict[str, Any]) -> None:
        """Keep an experiment's resolved spec and the cells of its matrices."""
        text = json.dumps(content, indent=1, sort_keys=True)
        self._write(f"{self._root}/experiments/{identity}.json", text.encode())

    def experiments(self) -> dict[str, dict[str, Any]]:
        """Every kept experiment by identity, oldest first."""
        selector = fs.FileSelector(f"{self._root}/experiments", allow_not_found=True)
        infos = [i for i in self._fs.get_file_info(selector) if i.base_name.endswith(".json")]
        infos.sort(key=lambda info: (info.mtime_ns or 0, info.base_name))
        contents = {i.base_name.removesuffix(".json"): self._read(i.path) for i in infos}
        parsed = {key: _parse(text) for key, text in contents.items() if text is not None}
        return {key: content for key, content in parsed.items() if content is not None}

    def record_failure(self, key: str, kind: str, message: str) -> None:
        """Keep the traceback of a failed task; a failed task counts as not done."""
        text = json.dumps({"key": key, "kind": kind, "message": message, "at": _now()}, indent=1)
        self._write(self._sharded("failures", key, ".json"), text.encode())

    def _commit(self, task: Task, blob: bytes, suffix: str, report: dict[str, Any]) -> None:
        digest = hashlib.sha256(blob).hexdigest()
        path = self._sharded("blobs", digest, suffix)
        self._write(path, blob)
        row = {
            "key": task.key,
            "kind": task.kind,
            "blob": os.path.relpath(path, self._root),
            "sha256": digest,
            "created": _now(),
            "model": task.model,
            "shard": task.shard_id,
            "attack": json.dumps(task.attack.identity()) if task.attack else None,
            "images": task.depends_on,
            "report": json.dumps(report),
        }
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([row]), sink, write_page_checksum=True)
        self._write(self._sharded("rows", task.key, ".parquet"), sink.getvalue())

    def _blob(self, key: str) -> bytes | None:
        row = self.row(key)
        content = self._read(f"{self._root}/{row.blob}") if row else None
        if row is None or content is None or hashlib.sha256(content).hexdigest() != row.sha256:
            return None
        return content

    def _sharded(self, folder: str, name: str, suffix: str) -> str:
        return f"{self._root}/{folder}/{name[:2]}/{name}{suffix}"

    def _read(self, path: str) -> bytes | None:
        try:
            with self._fs.open_input_file(path) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def _write(self, path: str, content: bytes) -> None:
        """Write atomically: rename on a local disk, one PUT on an object store."""
        if not self._local:
            with self._fs.open_output_stream(path) as stream:
                stream.write(content)
            return
        folder = os.path.dirname(path)
        os.makedirs(folder, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=folder, prefix=".partial-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(partial, 0o644)
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise


_ROW_FIELDS = ("key", "kind", "blob", "sha256", "created")


def _parse(text: bytes) -> dict[str, Any] | None:
    """A JSON mapping; None where it is torn."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _image_table(ids: tuple[str, ...], arrays: np.ndarray, name: str) -> pa.Table:
    """One row an image: id, height, width, and the uint8 values as bytes."""
    height, width = arrays.shape[-2:]
    return pa.table(
        {
            "image_id": pa.array(ids),
            "height": pa.array([height] * len(ids), pa.int32()),
            "width": pa.array([width] * len(ids), pa.int32()),
            name: pa.array([array.tobytes() for array in arrays], pa.large_binary()),
        }
    )


def _arrays(table: pa.Table, name: str) -> np.ndarray:
    """The stacked uint8 arrays of a bytes column: N x H x W, or N x 3 x H x W for images."""
    height, width = table["height"][0].as_py(), table["width"][0].as_py()
    values = [np.frombuffer(v.as_buffer(), np.uint8) for v in table[name]]
    return np.stack(values).reshape(len(values), *((3,) if name == "image" else ()), height, width)


def _encode_images(ids: tuple[str, ...], images: np.ndarray) -> bytes:
    """One row an image made: all images of the first kind, then of the next."""
    table = _image_table(ids * len(images), images.reshape(-1, *images.shape[2:]), "image")
    numbers = np.repeat(np.arange(len(images)), len(ids))
    return _ipc(table.append_column("made", pa.array(numbers, pa.int32())))


def _decode_images(content: bytes) -> np.ndarray:
    table = pa.ipc.open_file(content).read_all()
    made = table["made"][-1].as_py() + 1
    images = _arrays(table, "image")
    return images.reshape(made, -1, *images.shape[1:])


def _ipc(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()
