"""Arrays as bytes: AEs and shards as Arrow IPC, confusions and predictions as Parquet."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from segtransfer.tasks.data.shards import Shard


@dataclass(frozen=True)
class Evaluation:
    """The scores of an evaluation task.

    Attributes:
        image_ids: The ids of the N images.
        confusions: int64 N x K x K: pixels by label (rows) and prediction (columns).
        predictions: Class indices, uint8 N x H x W.
        report: The cost and numerics of the task; empty if read without the row.
        created: The time of the commit in ISO 8601; empty if read without the row.
    """

    image_ids: tuple[str, ...]
    confusions: np.ndarray
    predictions: np.ndarray
    report: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""


def encode_images(ids: Sequence[str], images: np.ndarray) -> bytes:
    """Return AEs as bytes.

    Args:
        ids: The ids of the N images.
        images: The AEs, uint8 M x N x 3 x H x W for M variants.

    Returns:
        An Arrow IPC file with a row per AE: all images of the first variant, then of the next.
    """
    table = _image_table(tuple(ids) * len(images), images.reshape(-1, *images.shape[2:]), "image")
    numbers = np.repeat(np.arange(len(images)), len(ids))
    return _ipc(table.append_column("made", pa.array(numbers, pa.int32())))


def decode_images(content: bytes) -> tuple[tuple[str, ...], np.ndarray] | None:
    """Read AEs from bytes.

    Args:
        content: The content of a blob.

    Returns:
        The N image ids, and the AEs, uint8 M x N x 3 x H x W for M variants. None if the bytes are
        no output of ``encode_images``.
    """
    try:
        table = pa.ipc.open_file(content).read_all()
        table.validate(full=True)
        images = _arrays(table, "image")
        variants = table["made"][-1].as_py() + 1
        images = images.reshape(variants, -1, *images.shape[1:])
        ids = tuple(table["image_id"].to_pylist())
        count = images.shape[1]
        whole = ids == ids[:count] * variants and _distinct(ids[:count])
        whole &= table["made"].to_pylist() == list(np.repeat(np.arange(variants), count))
    except Exception:  # foreign bytes break Arrow's readers in many ways
        return None
    return (ids[:count], images) if whole else None


def encode_evaluation(ids: Sequence[str], confusions: np.ndarray, predictions: np.ndarray) -> bytes:
    """Return the arrays of an evaluation as bytes.

    Args:
        ids: The ids of the N images.
        confusions: int64 N x K x K, labels by predictions.
        predictions: uint8 N x H x W class indices.

    Returns:
        A Parquet file with a row per image.
    """
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(confusions))
    table = _image_table(tuple(ids), predictions, "prediction")
    sink = io.BytesIO()
    pq.write_table(table.append_column("confusion", tensor), sink, compression="zstd")
    return sink.getvalue()


def decode_evaluation(content: bytes) -> Evaluation | None:
    """Read an evaluation from bytes.

    Args:
        content: The content of a blob.

    Returns:
        The evaluation, without report and time. None if the bytes are no output of
        ``encode_evaluation``, a count is negative, or an image id occurs twice.
    """
    try:
        # pq.read_table starts threads that can outlive the interpreter, which then crashes.
        table = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
        table.validate(full=True)
        evaluation = Evaluation(
            image_ids=tuple(table["image_id"].to_pylist()),
            confusions=table["confusion"].combine_chunks().to_numpy_ndarray(),
            predictions=_arrays(table, "prediction"),
        )
        confusions, shape = evaluation.confusions, evaluation.confusions.shape
        whole = confusions.dtype == np.int64 and len(shape) == 3 and shape[1] == shape[2]
        whole &= bool((confusions >= 0).all()) and _distinct(evaluation.image_ids)
    except Exception:  # foreign bytes break Arrow's readers in many ways
        return None
    return evaluation if whole else None


def encode_shard(shard: Shard) -> bytes:
    """Return a shard as bytes: an Arrow IPC file with a row per image."""
    table = _image_table(shard.image_ids, shard.images, "image")
    labels = _image_table(shard.image_ids, shard.labels, "label")
    table = table.append_column("label", labels["label"])
    if shard.labels.shape[1:] != shard.size:
        for side in ("height", "width"):
            table = table.append_column(f"label_{side}", labels[side])
    table = table.append_column("sequence", pa.array(shard.sequences))
    return _ipc(table.replace_schema_metadata({"group": str(shard.group)}))


def decode_shard(shard_id: str, content: bytes) -> Shard | None:
    """Read a shard from bytes.

    Args:
        shard_id: The id of the shard, the hash of its content.
        content: The content of the shard's file.

    Returns:
        None if the bytes are no output of ``encode_shard``, or the content has another hash.
    """
    try:
        table = pa.ipc.open_file(content).read_all()
        table.validate(full=True)
        shard = Shard(
            shard_id,
            group=int(table.schema.metadata[b"group"]),
            image_ids=tuple(table["image_id"].to_pylist()),
            sequences=tuple(table["sequence"].to_pylist()),
            images=_arrays(table, "image"),
            labels=_arrays(table, "label", "label_" if "label_width" in table.schema.names else ""),
        )
    except Exception:  # altered bytes break Arrow's readers in many ways
        return None
    texts = all(isinstance(sequence, str) for sequence in shard.sequences)
    return shard if texts and _distinct(shard.image_ids) and shard.intact() else None


def _distinct(ids: tuple[str, ...]) -> bool:
    """Return whether image ids are valid: at least one, each a text, all different."""
    return len(set(ids)) == len(ids) > 0 and all(isinstance(name, str) for name in ids)


def _image_table(ids: tuple[str, ...], arrays: np.ndarray, name: str) -> pa.Table:
    """Return a table with a row per image: id, height, width, and the uint8 values as bytes."""
    height, width = arrays.shape[-2:]
    return pa.table(
        {
            "image_id": pa.array(ids),
            "height": pa.array([height] * len(ids), pa.int32()),
            "width": pa.array([width] * len(ids), pa.int32()),
            name: pa.array([array.tobytes() for array in arrays], pa.large_binary()),
        }
    )


def _arrays(table: pa.Table, name: str, prefix: str = "") -> np.ndarray:
    """Return the arrays of a bytes column, uint8 N x H x W, or N x 3 x H x W for images.

    Args:
        table: The table.
        name: The column.
        prefix: The prefix of the columns with height and width.

    Raises:
        ValueError: The rows differ in size, or the bytes do not fit the size.
    """
    sides = (table[f"{prefix}{side}"].to_pylist() for side in ("height", "width"))
    sizes = set(zip(*sides, strict=True))
    ((height, width),) = sizes
    values = [np.frombuffer(v.as_buffer(), np.uint8) for v in table[name]]
    return np.stack(values).reshape(len(values), *((3,) if name == "image" else ()), height, width)


def _ipc(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()
