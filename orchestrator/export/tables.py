"""Tidy tables of an experiment: cells, images, attacks and models, as Parquet or CSV.

``images`` has a row per image, attack, source and target, and is written shard by shard. The other
tables are small. Clean scores have the attack ``clean`` and no source.
"""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from segtransfer.experiment.task import CLEAN
from segtransfer.export.about import schema_metadata, without_folders
from segtransfer.export.sums import Sums
from segtransfer.results import ALL_METRICS, CONFUSION_METRICS, Results
from segtransfer.results.reader import ExperimentReader, ScoredShard, Statistics
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.perturbation import STATISTICS

ROW_GROUP_BYTES = 2**26  # of a Parquet row group, before compression

TableFormat = Literal["parquet", "csv"]
Fields = dict[str, pa.DataType]

PERTURBATION_FIELDS: Fields = {name: pa.float64() for name in STATISTICS}
COST_FIELDS: Fields = {
    name: pa.float64()
    for name in ("forward_equivalents", "forwards", "backwards", "pixels", "seconds")
}
CELL_FIELDS: Fields = {
    "attack": pa.string(),
    "source": pa.string(),
    "target": pa.string(),
    "group": pa.string(),
    "images": pa.int64(),
    "complete": pa.bool_(),
    **{name: pa.float64() for name in ALL_METRICS},
}
IMAGE_FIELDS: Fields = {
    "attack": pa.string(),
    "source": pa.string(),
    "target": pa.string(),
    "image_id": pa.string(),
    "sequence": pa.string(),
    "schedule_group": pa.int32(),
    "labelled_pixels": pa.int64(),
    "right_pixels": pa.int64(),
    "fooled_pixels": pa.int64(),
    **PERTURBATION_FIELDS,
    "key": pa.string(),
}
ATTACK_FIELDS: Fields = {
    "attack": pa.string(),
    "needs_source": pa.bool_(),
    "eps": pa.float64(),
    "norm": pa.string(),
    "steps": pa.int64(),
    "step": pa.int64(),
    "score": pa.string(),
    **COST_FIELDS,
    **PERTURBATION_FIELDS,
    "ssim": pa.float64(),
    "spec": pa.string(),
}
MODEL_FIELDS: Fields = {
    "model": pa.string(),
    "is_source": pa.bool_(),
    "is_target": pa.bool_(),
    "backbone": pa.string(),
    "fingerprint": pa.string(),
    "spec": pa.string(),
}


def write_tables(reader: ExperimentReader, folder: Path, kind: TableFormat) -> Results:
    """Write the tables of cells, images, attacks and models.

    Parquet also has the confusion matrices: K * K pixel counts per image, labels by predictions.

    Args:
        reader: The reader of the experiment.
        folder: An empty folder.
        kind: The format, which is also the ending of the files.

    Returns:
        The results, with sums over images in place of images.
    """
    size = len(reader.manifest.classes) ** 2
    confusion = {"confusion": pa.list_(pa.int64(), size)} if kind == "parquet" else {}
    sums = Sums()
    with _open(reader, folder, "images", IMAGE_FIELDS | confusion, kind) as images:
        for shard_id, shard in reader.shards():
            for scored in reader.scored(shard_id, shard):
                perturbation = reader.perturbation(scored.cell) or {}
                images.write(_image_columns(scored, shard, perturbation, bool(confusion)))
                sums.add(scored)
    results = sums.results(reader)
    for name, fields, rows in (
        ("cells", CELL_FIELDS, _cell_rows(sums, results)),
        ("attacks", ATTACK_FIELDS, [_attack_row(results, attack) for attack in results.attacks]),
        ("models", MODEL_FIELDS, _model_rows(results)),
    ):
        with _open(reader, folder, name, fields, kind) as table:
            table.write({field: [row.get(field) for row in rows] for field in fields})
    return results


def _image_columns(
    scored: ScoredShard, shard: Shard | None, perturbation: Statistics, matrices: bool
) -> dict[str, Any]:
    """Return the columns of an evaluation, a row per image."""
    cell, evaluation = scored.cell, scored.evaluation
    confusions, count = evaluation.confusions, len(evaluation.image_ids)
    nothing = [None] * count
    columns = {
        "attack": [cell.attack] * count,
        "source": [cell.source] * count,
        "target": [cell.target] * count,
        "image_id": evaluation.image_ids,
        "sequence": nothing if shard is None else shard.sequences,
        "schedule_group": [None if shard is None else shard.group] * count,
        "labelled_pixels": confusions.sum((1, 2)),
        "right_pixels": confusions.trace(axis1=1, axis2=2),
        "fooled_pixels": nothing if scored.fooled is None else scored.fooled[:, 0],
        **{name: perturbation.get(name, nothing) for name in STATISTICS},
        "key": [cell.key] * count,
    }
    if matrices:
        flat = pa.array(np.ascontiguousarray(confusions).ravel())
        columns["confusion"] = pa.FixedSizeListArray.from_arrays(flat, confusions[0].size)
    return columns


def _cell_rows(sums: Sums, results: Results) -> list[dict[str, Any]]:
    """Return a row per matrix cell; an incomplete cell has no metrics."""
    names = [name for name in CONFUSION_METRICS if name in results.metrics]
    clean = pd.DataFrame({name: results.clean(name) for name in names})
    rows: list[dict[str, Any]] = [
        {"attack": CLEAN, "source": None, "target": target, **values}
        for target, values in clean.to_dict("index").items()
    ]
    for row in results.frame().to_dict("records"):
        if not results.needs_source(row["attack"]):
            if row["source"] != results.sources[0]:
                continue  # the row is the same for every source
            row |= {"source": None, "group": None}
        rows.append({str(name): value for name, value in row.items()})
    for row in rows:
        cell = row["attack"], row["source"], row["target"]
        row["images"] = sums.images(cell)
        row["complete"] = cell in results.counts
    return rows


def _attack_row(results: Results, attack: str) -> dict[str, Any]:
    spec, variant = results.attack_spec(attack), results.variants[attack]
    return {
        "attack": attack,
        "needs_source": results.needs_source(attack),
        "eps": spec.eps,
        "norm": spec.norm,
        "steps": spec.steps,
        "step": variant.step,
        "score": variant.score,
        **results.cost(attack).to_dict(),
        **results.perturbation(attack).to_dict(),
        "spec": json.dumps(without_folders(results.manifest.stored_attack(attack))),
    }


def _model_rows(results: Results) -> list[dict[str, Any]]:
    specs = {spec["name"]: spec for spec in results.manifest.spec["models"]}
    return [
        {
            "model": name,
            "is_source": name in results.sources,
            "is_target": name in results.targets,
            "backbone": model.backbone,
            "fingerprint": model.fingerprint,
            "spec": json.dumps(without_folders(specs[name])),
        }
        for name, model in results.manifest.models.items()
    ]


def _open(
    reader: ExperimentReader, folder: Path, name: str, fields: Fields, kind: TableFormat
) -> "TableWriter":
    schema = pa.schema(list(fields.items()), metadata=schema_metadata(reader, name))
    return TableWriter(folder / f"{name}.{kind}", schema)


class TableWriter:
    """A writer of a table on disk. Rows are buffered up to ``ROW_GROUP_BYTES``.

    Closed by the end of its context, which writes the last rows.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._nbytes = 0
        self._writer = (
            csv.CSVWriter(path, schema)
            if path.suffix == ".csv"
            else pq.ParquetWriter(path, schema, compression="zstd")
        )

    def write(self, columns: dict[str, Any]) -> None:
        """Add rows. NaN is written as null.

        Args:
            columns: The values of every column of the schema, all of the same length.
        """
        arrays = [
            values if isinstance(values, pa.Array) else pa.array(values, type, from_pandas=True)
            for type, values in ((f.type, columns[f.name]) for f in self._schema)
        ]
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        self._waiting.append(table)
        self._nbytes += table.nbytes
        if self._nbytes > ROW_GROUP_BYTES:
            self._flush()

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
            self._waiting.clear()
            self._nbytes = 0
