"""An experiment as a data set for ``datasets.load_dataset``, from disk or from the Hub.

The files are plain Parquet, written without the ``datasets`` library: the tables of the Parquet
export, and ``adversarial``, ``clean`` and optionally ``predictions`` with one file per shard.
Images are PNG files in a column that is marked as images. ``README.md`` is the data set's card.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from segtransfer.export.about import schema_metadata
from segtransfer.export.pictures import palette, png
from segtransfer.export.tables import PERTURBATION_FIELDS, Fields, TableWriter, write_tables
from segtransfer.results import Results
from segtransfer.results.markdown import markdown
from segtransfer.results.reader import AttackedShard, ExperimentReader, ScoredShard
from segtransfer.tasks.data.names import file_name
from segtransfer.tasks.data.shards import Shard

# An Image of `datasets`, which is decoded on reading.
IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
SPLIT = "test"
TABLES = ("cells", "images", "attacks", "models")
ABOUT = {
    "adversarial": "adversarial image, exactly as scored",
    "clean": "clean image, with its label (class indices, 255 is ignored)",
    "predictions": "attack, source, target and image: the prediction (class indices)",
    "cells": "attack, source and target: every metric",
    "images": "image, attack, source and target: confusion matrix, counts, perturbation",
    "attacks": "attack: settings, cost, mean perturbation",
    "models": "model: backbone, fingerprint, settings",
}

ADVERSARIAL_FIELDS: Fields = {
    "attack": pa.string(),
    "source": pa.string(),
    "image_id": pa.string(),
    "image": IMAGE,
    **PERTURBATION_FIELDS,
}
CLEAN_FIELDS: Fields = {
    "image_id": pa.string(),
    "sequence": pa.string(),
    "schedule_group": pa.int32(),
    "image": IMAGE,
    "label": IMAGE,
}
PREDICTION_FIELDS: Fields = {
    "attack": pa.string(),
    "source": pa.string(),
    "target": pa.string(),
    "image_id": pa.string(),
    "prediction": IMAGE,
}


def write_hub(reader: ExperimentReader, folder: Path, predictions: bool) -> Results:
    """Write the tables, the images, and the card.

    Args:
        reader: The reader of the experiment.
        folder: An empty folder.
        predictions: Whether to write the predictions of every target.

    Returns:
        The results, with sums over images in place of images.
    """
    results = write_tables(reader, folder, "parquet")
    colours = palette(results.manifest.palette)
    written: dict[str, None] = {}
    for number, (shard_id, shard) in enumerate(reader.shards()):
        parts = {
            "adversarial": (
                ADVERSARIAL_FIELDS,
                (_adversarial(aes) for aes in reader.adversarial(shard_id, shard)),
            ),
            "clean": (CLEAN_FIELDS, (_clean(s) for s in [shard] if s is not None)),
        }
        if predictions:
            scored = reader.scored(shard_id, shard)
            parts["predictions"] = PREDICTION_FIELDS, (_predictions(s, colours) for s in scored)
        for name, (fields, columns) in parts.items():
            if _write_part(reader, folder / name / f"{number:05}.parquet", name, fields, columns):
                written[name] = None
    (folder / "README.md").write_text(_card(reader, results, [*written, *TABLES]), encoding="utf-8")
    return results


def _write_part(
    reader: ExperimentReader,
    path: Path,
    name: str,
    fields: Fields,
    columns: Iterator[dict[str, Any]],
) -> bool:
    """Write a shard's part of a subset; return False and write no file for an empty part."""
    first = next(columns, None)
    if first is None:
        return False
    marked = {field: {"_type": "Image"} for field, type in fields.items() if type == IMAGE}
    metadata = schema_metadata(reader, name)
    metadata["huggingface"] = json.dumps({"info": {"features": marked}})
    path.parent.mkdir(exist_ok=True)
    with TableWriter(path, pa.schema(list(fields.items()), metadata=metadata)) as rows:
        for part in chain([first], columns):
            rows.write(part)
    return True


def _adversarial(aes: AttackedShard) -> dict[str, Any]:
    return {
        "attack": [aes.attack] * len(aes.images),
        "source": [aes.source] * len(aes.images),
        "image_id": aes.image_ids,
        "image": _files(aes.image_ids, aes.images),
        **aes.perturbation,
    }


def _clean(shard: Shard) -> dict[str, Any]:
    return {
        "image_id": shard.image_ids,
        "sequence": shard.sequences,
        "schedule_group": [shard.group] * len(shard.images),
        "image": _files(shard.image_ids, shard.images),
        "label": _files(shard.image_ids, shard.labels),
    }


def _predictions(scored: ScoredShard, colours: Sequence[int]) -> dict[str, Any]:
    cell, evaluation = scored.cell, scored.evaluation
    count = len(evaluation.image_ids)
    return {
        "attack": [cell.attack] * count,
        "source": [cell.source] * count,
        "target": [cell.target] * count,
        "image_id": evaluation.image_ids,
        "prediction": _files(evaluation.image_ids, evaluation.predictions, colours),
    }


def _files(
    image_ids: Sequence[str], images: np.ndarray, colours: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    return [
        {"bytes": png(pixels, colours), "path": f"{file_name(image_id)}.png"}
        for image_id, pixels in zip(image_ids, images, strict=True)
    ]


def _card(reader: ExperimentReader, results: Results, subsets: Sequence[str]) -> str:
    """Return the data set's card: YAML for the library, then Markdown for people."""
    configs = [
        {
            "config_name": name,
            "data_files": [
                {
                    "split": SPLIT,
                    "path": f"{name}.parquet" if name in TABLES else f"{name}/*.parquet",
                }
            ],
            **({"default": True} if name == subsets[0] else {}),
        }
        for name in subsets
    ]
    head = {
        "pretty_name": f"Adversarial examples of {results.name}",
        "task_categories": ["image-segmentation"],
        "tags": ["adversarial-examples", "semantic-segmentation", "segtransfer"],
        "configs": configs,
    }
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True) + "---",
        f"# Adversarial examples of {results.name}",
        "",
        f"Made and scored by segtransfer from images of {results.manifest.dataset}. The licence of "
        f"{results.manifest.dataset} also covers the adversarial images.",
        "",
        *(f"**{note}.**\n" for note in reader.notes),
        "| subset | a row per |",
        "|---|---|",
        *(f"| `{name}` | {ABOUT[name]} |" for name in subsets),
        "",
        "Classes: " + ", ".join(f"{i} {name}" for i, name in enumerate(results.classes)) + ".",
        "",
        markdown(results, results.attacks),
    ]
    return "\n".join(lines)
