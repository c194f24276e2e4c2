"""What an export says of itself: which experiment of which version, its classes, what it lacks."""

import json
from pathlib import PurePosixPath
from typing import Any

from segtransfer.experiment.provenance import versions
from segtransfer.export.reading import Reader

FORMAT = 1  # of an export; raise when a table or folder changes its meaning


def describe(reader: Reader) -> dict[str, Any]:
    """The content of ``experiment.json``; complete once everything was read."""
    content = reader.experiment.content
    return {
        "format": FORMAT,
        "version": versions().get("segtransfer"),
        "experiment": reader.experiment.identity,
        "name": reader.experiment.name,
        "dataset": content["dataset"],
        "classes": content["classes"],
        "palette": content["palette"],
        "notes": reader.notes,
        "spec": without_folders(content["spec"]),
    }


def schema_metadata(reader: Reader, table: str) -> dict[str, str]:
    """What the schema of a Parquet table carries."""
    about = describe(reader)
    return {
        "segtransfer.table": table,
        "segtransfer.format": str(FORMAT),
        "segtransfer.version": str(about["version"]),
        "segtransfer.experiment": reader.experiment.identity,
        "segtransfer.name": reader.experiment.name,
        "segtransfer.dataset": about["dataset"],
        "segtransfer.classes": json.dumps(about["classes"], ensure_ascii=False),
    }


def without_folders(value: Any) -> Any:
    """A spec with its absolute paths cut to their last part: what is published shall not tell where
    files lay on the machine that made it."""
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(item) for item in value]
    if isinstance(value, str) and value.startswith("/"):
        return PurePosixPath(value).name
    return value
