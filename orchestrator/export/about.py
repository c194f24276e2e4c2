"""The metadata of an export: experiment, version, classes, and missing parts."""

import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from segtransfer.experiment.provenance import versions
from segtransfer.results.reader import ExperimentReader

EXPORT_VERSION = 1  # raise if a table or folder changes its meaning


def describe(reader: ExperimentReader, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of ``experiment.json``.

    Args:
        reader: The reader of the experiment. Its notes are complete after all shards were read.
        warnings: The sentences of the results' warnings.

    Returns:
        JSON values: versions, identity, name, data set, classes, palette (RGB, 0 to 255), notes,
        warnings, and the spec without folders.
    """
    manifest = reader.manifest
    return {
        "format": EXPORT_VERSION,
        "version": versions().get("segtransfer"),
        "experiment": reader.identity,
        "name": reader.manifest.settings.name,
        "dataset": manifest.dataset,
        "classes": manifest.classes,
        "palette": manifest.palette,
        "notes": reader.notes,
        "warnings": warnings,
        "spec": without_folders(manifest.spec),
    }


def schema_metadata(reader: ExperimentReader, table: str) -> dict[str, str]:
    """Return the metadata of a Parquet table's schema.

    Args:
        reader: The reader of the experiment.
        table: The name of the table, for example ``cells``.

    Returns:
        Texts by name, each name with the prefix ``segtransfer.``.
    """
    about = describe(reader)
    return {
        "segtransfer.table": table,
        "segtransfer.format": str(EXPORT_VERSION),
        "segtransfer.version": str(about["version"]),
        "segtransfer.experiment": reader.identity,
        "segtransfer.name": reader.manifest.settings.name,
        "segtransfer.dataset": about["dataset"],
        "segtransfer.classes": json.dumps(about["classes"], ensure_ascii=False),
    }


def without_folders(value: Any) -> Any:
    """Return a spec with each absolute path replaced by the name of its file or folder.

    So published files do not reveal the folders of a machine.

    Args:
        value: JSON values.

    Returns:
        A copy. Texts that do not start with ``/`` are kept.
    """
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(item) for item in value]
    if isinstance(value, str) and value.startswith("/"):
        return PurePosixPath(value).name
    return value
