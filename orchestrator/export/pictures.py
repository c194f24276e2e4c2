"""PNG files of an experiment, in the layout of segtransfer's own data sets.

    images/<image>.png  labels/<image>.png  dataset.json    read by data: {folder: OUT}
    attacks/<attack>/<source>/<image>.png                   read by attacks: [{files: ...}]
    predictions/<target>/<attack>/<source>/<image>.png      class indices with a palette
    again.yaml                                              a spec that scores the AEs again
    images.csv                                              file, image id, sequence, group

An attack without a source has no <source>. A ``:`` in an attack's name is written ``=``. Other
characters than letters, digits, ``_``, ``-`` and ``.`` are written ``%XX``.
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from segtransfer.results.reader import ExperimentReader
from segtransfer.tasks.data.names import file_name
from segtransfer.tasks.yaml_files import dump

IMAGES_CSV_HEADER = ("file", "image_id", "sequence", "schedule_group")
RESCORING_COMMENT = (
    "# Scores these adversarial images. Add models, then: segtransfer run again.yaml\n"
)


def write_pictures(reader: ExperimentReader, folder: Path, predictions: bool) -> None:
    """Write clean images, labels and AEs exactly as stored, and optionally predictions.

    Args:
        reader: The reader of the experiment.
        folder: An empty folder.
        predictions: Whether to write the predictions of every target.

    Raises:
        FileExistsError: Two images have one file name, on a file system that ignores case.
    """
    colours = palette(reader.manifest.palette)
    known: list[tuple[str, str, str, int]] = []
    written: dict[tuple[str, str | None], set[str]] = defaultdict(set)  # by attack and source
    for shard_id, shard in reader.shards():
        if shard is not None:
            _write(folder / "images", shard.image_ids, shard.images)
            _write(folder / "labels", shard.image_ids, shard.labels)
            names = [f"{file_name(i)}.png" for i in shard.image_ids]
            groups = [shard.group] * len(names)
            known += zip(names, shard.image_ids, shard.sequences, groups, strict=True)
        for aes in reader.adversarial(shard_id, shard):
            path = folder / "attacks" / attack_path(aes.attack, aes.source)
            _write(path, aes.image_ids, aes.images)
            written[aes.attack, aes.source].update(aes.image_ids)
        for scored in reader.scored(shard_id, shard) if predictions else ():
            cell, evaluation = scored.cell, scored.evaluation
            path = folder / "predictions" / file_name(cell.target)
            path /= attack_path(cell.attack, cell.source)
            _write(path, evaluation.image_ids, evaluation.predictions, colours)
    with (folder / "images.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([IMAGES_CSV_HEADER, *known])
    notes = {"classes": reader.manifest.classes, "palette": reader.manifest.palette}
    (folder / "dataset.json").write_text(
        json.dumps(notes, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    needed = {image_id for _, image_id, *_ in known}
    complete = [origin for origin, ids in written.items() if ids >= needed]
    spec = _rescoring_spec(reader, complete)
    (folder / "again.yaml").write_text(RESCORING_COMMENT + dump(spec), encoding="utf-8")


def attack_path(attack: str, source: str | None) -> Path:
    """Return the folder of an attack's AEs, relative to the folder of all attacks.

    Args:
        attack: The name of the attack's variant.
        source: The name of the source; None for an attack without a source.
    """
    name = file_name(attack.replace(":", "="))  # names of attacks have no =
    return Path(name) if source is None else Path(name, file_name(source))


def png(pixels: np.ndarray, colours: Sequence[int] | None = None) -> bytes:
    """Return the bytes of a PNG file.

    Args:
        pixels: uint8: RGB, 3 x H x W, or class indices, H x W.
        colours: The 768 values of ``palette`` for class indices. Default: grey levels.
    """
    image = Image.fromarray(pixels if pixels.ndim == 2 else pixels.transpose(1, 2, 0))
    if colours is not None:
        image.putpalette(colours)
    content = io.BytesIO()
    image.save(content, "png")
    return content.getvalue()


def palette(colours: Sequence[Sequence[int]]) -> list[int]:
    """Return the PNG palette of the classes.

    Args:
        colours: The RGB colour of each class, 0 to 255.

    Returns:
        256 RGB colours, 768 values. Indices beyond the classes are black.
    """
    flat = [value for colour in colours for value in colour]
    return flat + [0] * (3 * 256 - len(flat))


def _write(
    folder: Path, image_ids: Sequence[str], images: np.ndarray, colours: Sequence[int] | None = None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image_id, pixels in zip(image_ids, images, strict=True):
        # Never overwrite: file systems that ignore case give two names the same file.
        with (folder / f"{file_name(image_id)}.png").open("xb") as file:
            file.write(png(pixels, colours))


def _rescoring_spec(
    reader: ExperimentReader, origins: Sequence[tuple[str, str | None]]
) -> dict[str, object]:
    """Return a spec without models that scores the AEs of these attacks and sources."""
    attacks = [
        {
            "name": attack.replace(":", ".") + (f"-from-{source}" if source else ""),
            "files": str("attacks" / attack_path(attack, source)),
            "eps": reader.manifest.attacks[attack].eps,
            "norm": reader.manifest.attacks[attack].norm,
        }
        for attack, source in origins
    ]
    name = f"{reader.manifest.settings.name}-again"
    return {"name": name, "data": {"folder": "."}, "attacks": attacks}
