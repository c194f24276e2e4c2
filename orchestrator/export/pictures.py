"""PNG files of an experiment, laid out as a data set that segtransfer itself reads.

    images/<image>.png  labels/<image>.png  dataset.json    read by data: {folder: OUT}
    attacks/<attack>/<source>/<image>.png                   read by attacks: [{files: ...}]
    predictions/<target>/<attack>/<source>/<image>.png      class indices with a palette
    again.yaml                                              an experiment that scores the AEs again
    images.csv                                              file, image id, sequence, group

There is no <source> where an attack needs none. A ``:`` in an attack's name is written ``=``, and
what no file name may hold ``%XX``.
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from segtransfer.export.reading import Reader
from segtransfer.tasks.data.names import file_name

COLUMNS = ("file", "image_id", "sequence", "schedule_group")
AGAIN = "# Scores these adversarial images: add models, then segtransfer run again.yaml\n"


def write_pictures(reader: Reader, folder: Path, predictions: bool) -> None:
    """Write clean images, labels and AEs exactly as stored, and predictions where asked for."""
    colours = palette(reader.experiment.content["palette"])
    known: list[tuple[str, str, str, int]] = []
    written: dict[tuple[str, str | None], set[str]] = defaultdict(set)  # by attack and source
    for shard_id, shard in reader.shards():
        if shard is not None:
            _write(folder / "images", shard.image_ids, shard.images)
            _write(folder / "labels", shard.image_ids, shard.labels)
            names = [f"{file_name(i)}.png" for i in shard.image_ids]
            groups = [shard.group] * len(names)
            known += zip(names, shard.image_ids, shard.sequences, groups, strict=True)
        for made in reader.adversarial(shard_id):
            path = folder / "attacks" / attack_path(made.attack, made.source)
            _write(path, made.image_ids, made.images)
            written[made.attack, made.source].update(made.image_ids)
        for scored in reader.scored(shard_id, shard) if predictions else ():
            place, found = scored.place, scored.evaluation
            path = folder / "predictions" / file_name(place.target)
            path /= attack_path(place.attack, place.source)
            _write(path, found.image_ids, found.predictions, colours)
    with (folder / "images.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *known])
    notes = {name: reader.experiment.content[name] for name in ("classes", "palette")}
    (folder / "dataset.json").write_text(json.dumps(notes, indent=1, ensure_ascii=False) + "\n")
    needed = {image_id for _, image_id, *_ in known}
    whole = [made for made, there in written.items() if there >= needed]
    (folder / "again.yaml").write_text(AGAIN + yaml.safe_dump(_again(reader, whole)))


def attack_path(attack: str, source: str | None) -> Path:
    """Where the AEs of an attack and source lie, below the folder of all."""
    name = file_name(attack.replace(":", "="))  # no name of an attack holds a =
    return Path(name) if source is None else Path(name, file_name(source))


def png(pixels: np.ndarray, colours: Sequence[int] | None = None) -> bytes:
    """A PNG file of uint8 pixels: 3 x H x W in RGB, or class indices H x W, grey or coloured by a
    palette of 256."""
    image = Image.fromarray(pixels if pixels.ndim == 2 else pixels.transpose(1, 2, 0))
    if colours is not None:
        image.putpalette(colours)
    content = io.BytesIO()
    image.save(content, "png")
    return content.getvalue()


def palette(colours: Sequence[Sequence[int]]) -> list[int]:
    """The palette of a PNG from the RGB colours of the classes; all other indices are black."""
    flat = [value for colour in colours for value in colour]
    return flat + [0] * (3 * 256 - len(flat))


def _write(
    folder: Path, image_ids: Sequence[str], images: np.ndarray, colours: Sequence[int] | None = None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image_id, pixels in zip(image_ids, images, strict=True):
        # Never over another: file systems that ignore case take two names for one.
        with (folder / f"{file_name(image_id)}.png").open("xb") as file:
            file.write(png(pixels, colours))


def _again(reader: Reader, made: Sequence[tuple[str, str | None]]) -> dict[str, object]:
    """An experiment without models that scores what was made of every image."""
    attacks = [
        {
            "name": attack.replace(":", ".") + (f"-from-{source}" if source else ""),
            "files": str("attacks" / attack_path(attack, source)),
            "eps": reader.experiment.attack_spec(attack)["eps"],
            "norm": reader.experiment.attack_spec(attack)["norm"],
        }
        for attack, source in made
    ]
    return {"name": f"{reader.experiment.name}-again", "data": {"folder": "."}, "attacks": attacks}
