"""The export of an experiment into a new folder, in one of several formats."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segtransfer.errors import InputError
from segtransfer.experiment.manifest_reading import read_manifest
from segtransfer.export.about import describe
from segtransfer.export.hub import write_hub
from segtransfer.export.pictures import write_pictures
from segtransfer.export.tables import write_tables
from segtransfer.results import ResultWarning
from segtransfer.results.lookup import experiment_of
from segtransfer.results.reader import ExperimentReader
from segtransfer.store.maintenance import open_existing

ExportFormat = Literal["parquet", "csv", "png", "hf"]


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        name: The experiment's name.
        folder: The folder.
        files: The number of files in the folder.
        nbytes: The bytes of the files.
        notes: A sentence per kind of missing results.
        warnings: The warnings of the results, for example about a random target; none for ``png``.
    """

    name: str
    folder: Path
    files: int
    nbytes: int
    notes: tuple[str, ...]
    warnings: tuple[ResultWarning, ...]


def export(
    location: str,
    out: str | Path,
    kind: ExportFormat = "parquet",
    experiment: str | None = None,
    *,
    predictions: bool = False,
    advance: Callable[[int, int], None] = lambda done, shards: None,
) -> Exported:
    """Write an experiment of a store into a folder, shard by shard.

    ``experiment.json`` is written last; an export without that file is incomplete.

    Args:
        location: The folder or URL of the store.
        out: A new or empty folder.
        kind: ``parquet`` or ``csv`` for tables, ``png`` for images, ``hf`` for a data set that
            ``datasets.load_dataset`` reads.
        experiment: The experiment's name or the beginning of its identity. It may be left out if
            the store holds one experiment.
        predictions: Also write the predictions of every target as images (``png`` and ``hf``).
        advance: Called with the number of shards written and the number of all shards.

    Raises:
        InputError: The location has no store, the store has no such experiment, ``out`` is not
            empty or is a file, or ``predictions`` is set for ``parquet`` or ``csv``.
    """
    if predictions and kind not in ("png", "hf"):
        raise InputError(f"predictions are images, and {kind} holds tables; export png or hf")
    store = open_existing(location)
    identity, content = experiment_of(store, experiment)
    manifest = read_manifest(content, identity, store.location)
    reader = ExperimentReader(store, identity, manifest, advance)
    folder = _new_folder(Path(out))
    warnings: tuple[ResultWarning, ...] = ()  # about scores, of which PNG files hold none
    if kind == "png":
        write_pictures(reader, folder, predictions)
    elif kind == "hf":
        warnings = write_hub(reader, folder, predictions).warnings
    else:
        warnings = write_tables(reader, folder, kind).warnings
    text = json.dumps(
        describe(reader, [w.sentence for w in warnings]), indent=1, ensure_ascii=False
    )
    (folder / "experiment.json").write_text(text + "\n", encoding="utf-8")
    files = [path for path in folder.rglob("*") if path.is_file()]
    nbytes = sum(path.stat().st_size for path in files)
    return Exported(manifest.settings.name, folder, len(files), nbytes, reader.notes, warnings)


def _new_folder(folder: Path) -> Path:
    """Create a folder, or return it if it is empty.

    Raises:
        InputError: The folder is not empty, or is a file.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; give a new or empty folder")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a new or empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
