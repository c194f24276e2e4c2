"""Arrays as bytes: AEs and shards as Arrow IPC, confusions and predictions as Parquet."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from segtransfer.tasks.data.shards import Shard


@dataclass(frozen=True)
class Evaluation:
    """Confusions int64 N x K x K and predictions uint8 N x H x W of one evaluation task."""

    image_ids: tuple[str, ...]
    confusions: np.ndarray
    predictions: np.ndarray


def encode_images(ids: Sequence[str], images: np.ndarray) -> bytes:
    """Return AEs as Arrow IPC, a row per AE: all images of the first variant, then the next.

    Args:
        ids: The ids of the N images.
        images: The AEs, uint8 M x N x 3 x H x W for M variants.
    """
    table = _image_table(tuple(ids) * len(images), images.reshape(-1, *images.shape[2:]), "image")
    numbers = np.repeat(np.arange(len(images)), len(ids))
    return _ipc(table.append_column("made", pa.array(numbers, pa.int32())))


def decode_images(content: bytes) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the N image ids, and the AEs uint8 M x N x 3 x H x W for M variants."""
    table = pa.ipc.open_file(content).read_all()
    variants = table["made"][-1].as_py() + 1
    images = _arrays(table, "image")
    images = images.reshape(variants, -1, *images.shape[1:])
    return tuple(table["image_id"].to_pylist())[: images.shape[1]], images


def encode_evaluation(ids: Sequence[str], confusions: np.ndarray, predictions: np.ndarray) -> bytes:
    """Return an evaluation as Parquet, a row per image.

    Args:
        ids: The ids of the N images.
        confusions: int64 N x K x K, labels by predictions.
        predictions: uint8 N x H x W class indices.
    """
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(confusions))
    table = _image_table(tuple(ids), predictions, "prediction")
    sink = io.BytesIO()
    pq.write_table(table.append_column("confusion", tensor), sink, compression="zstd")
    return sink.getvalue()


def decode_evaluation(content: bytes) -> Evaluation:
    """Return the evaluation that ``encode_evaluation`` wrote."""
    # Not through a data set: its threads may end after the interpreter, which crashes then.
    table = pq.ParquetFile(pa.BufferReader(content)).read()
    return Evaluation(
        image_ids=tuple(table["image_id"].to_pylist()),
        confusions=table["confusion"].combine_chunks().to_numpy_ndarray(),
        predictions=_arrays(table, "prediction"),
    )


def encode_shard(shard: Shard) -> bytes:
    """Return a shard as Arrow IPC, a row per image."""
    table = _image_table(shard.image_ids, shard.images, "image")
    table = table.append_column(
        "label", pa.array([label.tobytes() for label in shard.labels], pa.large_binary())
    )
    table = table.append_column("sequence", pa.array(shard.sequences))
    return _ipc(table.replace_schema_metadata({"group": str(shard.group)}))


def decode_shard(shard_id: str, content: bytes) -> Shard | None:
    """Return a shard; None if it is damaged, so that its id is not the hash of its content."""
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


def _arrays(table: pa.Table, name: str) -> np.ndarray:
    """Return the arrays of a bytes column, uint8 N x H x W, or N x 3 x H x W for images."""
    height, width = table["height"][0].as_py(), table["width"][0].as_py()
    values = [np.frombuffer(v.as_buffer(), np.uint8) for v in table[name]]
    return np.stack(values).reshape(len(values), *((3,) if name == "image" else ()), height, width)


def _ipc(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()
