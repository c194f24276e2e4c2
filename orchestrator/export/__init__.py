"""Export: one experiment of a store as tables, PNG files, or a data set of Hugging Face."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segtransfer.errors import InputError
from segtransfer.export.about import describe
from segtransfer.export.hub import write_hub
from segtransfer.export.pictures import write_pictures
from segtransfer.export.reading import Reader
from segtransfer.export.tables import write_tables
from segtransfer.results.lookup import experiment_of
from segtransfer.store.maintenance import open_existing

Format = Literal["parquet", "csv", "png", "hf"]


@dataclass(frozen=True)
class Exported:
    """What was written where: the experiment's name, files, bytes, and sentences on what lacks."""

    name: str
    folder: Path
    files: int
    nbytes: int
    notes: tuple[str, ...]


def export(
    location: str,
    out: str | Path,
    kind: Format = "parquet",
    experiment: str | None = None,
    *,
    predictions: bool = False,
    advance: Callable[[int, int], None] = lambda done, shards: None,
) -> Exported:
    """Write an experiment of the store at ``location`` into ``out``, shard by shard.

    ``experiment`` is its name or the beginning of its identity, and may be left out where there is
    one; ``predictions`` adds those of every target as images; ``advance`` hears of every shard that
    is done. ``experiment.json`` is written last: without it an export is not whole. Raises
    InputError where there is no such experiment, or ``out`` holds something.
    """
    if predictions and kind not in ("png", "hf"):
        raise InputError(f"predictions are images, which {kind} does not hold: export png or hf")
    store = open_existing(location)
    reader = Reader(store, *experiment_of(store, experiment), advance)
    folder = _new_folder(Path(out))
    if kind == "png":
        write_pictures(reader, folder, predictions)
    elif kind == "hf":
        write_hub(reader, folder, predictions)
    else:
        write_tables(reader, folder, kind)
    text = json.dumps(describe(reader), indent=1, ensure_ascii=False)
    (folder / "experiment.json").write_text(text + "\n")
    files = [path for path in folder.rglob("*") if path.is_file()]
    nbytes = sum(path.stat().st_size for path in files)
    return Exported(reader.experiment.name, folder, len(files), nbytes, reader.notes)


def _new_folder(folder: Path) -> Path:
    """The folder, made where there is none; what it holds is never written over."""
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; give a new folder, or an empty one")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a new folder, or an empty one")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
