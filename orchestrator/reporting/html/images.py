"""Pages with every image of every cell: AEs, perturbations and predictions, as files."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup
from PIL import Image

from segtransfer.experiment.task import CLEAN
from segtransfer.reporting.html.gallery import NEAREST, resized, rgb
from segtransfer.reporting.html.page import page_environment
from segtransfer.reporting.html.templates import HERE
from segtransfer.reporting.panels import (
    AMPLIFICATION,
    amplified_difference,
    colour,
    drawn_label,
    over_image,
)
from segtransfer.reporting.places import PAGE, report_folder
from segtransfer.results import Results
from segtransfer.results.text import row_name, rows, settings
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.labels import IGNORE_INDEX
from segtransfer.tasks.memory import return_freed_memory

MOST_PICTURES = 20_000  # files; images beyond are left out
PICTURE_SIDE = 768  # pixels of a picture's longer side
Row = tuple[str, str | None]  # attack or clean, and source; None if the attack uses no model


@dataclass(frozen=True)
class WrittenImages:
    """The folder of the pages, the number of shown images, and the number of all images."""

    folder: Path
    shown: int
    images: int

    @property
    def page(self) -> Path:
        """The page that lists the images."""
        return self.folder / "index.html"


@dataclass
class Pictures:
    """The pictures of an image: files by row and column, and shares of right pixels.

    Attributes:
        name: The id of the image.
        folder: The folder of the files.
        scale: The size of the pictures over the size of the image.
        files: Path from the pages by row and column: ``image``, ``perturbation``, or a target.
        right: Percentage of right pixels by row and target.
    """

    name: str
    folder: Path
    scale: float
    files: dict[tuple[Row, str], str] = field(default_factory=dict)
    right: dict[tuple[Row, str], str] = field(default_factory=dict)

    def save(self, row: Row, column: str, picture: np.ndarray, *, exact: bool) -> None:
        """Write a picture.

        Args:
            row: The attack and the source.
            column: ``image``, ``perturbation``, ``label``, or a target.
            picture: RGB, uint8 H x W x 3.
            exact: Whether each pixel keeps a colour of the picture, as class maps need.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        sampling = NEAREST if exact else Image.Resampling.LANCZOS
        path = self.folder / f"{len(self.files):04}.webp"
        small = resized(Image.fromarray(picture), self.scale, sampling)
        small.save(path, "webp", lossless=exact, quality=60 if exact else 82)
        self.files[row, column] = f"{quote(self.folder.name)}/{path.name}"


def write_images(results: Results, most: int = MOST_PICTURES) -> WrittenImages:
    """Write a page per image with its picture in every cell, and a page that lists the images.

    The pictures of a shard are written while the shard is read. If all images would need more
    than ``most`` pictures, the first images are shown.

    Args:
        results: The experiment.
        most: The largest number of pictures.
    """
    folder = report_folder(results) / "images"
    folder.mkdir(parents=True, exist_ok=True)
    lines = _rows(results)
    each = 2 + len(results.targets) + len(lines) * (2 + len(results.targets))
    wanted = max(1, most // each)
    listed = []
    for pictures in _streamed(results, folder, wanted):
        listed.append((pictures.name, f"{pictures.folder.name}.html", pictures.files))
        _write_page(results, pictures, lines, len(listed), folder)
    written = WrittenImages(folder, len(listed), len(results.image_ids))
    clean = ((CLEAN, None), "image")
    found = [(name, page, files.get(clean)) for name, page, files in listed]
    _write(written.page, results, listed=found, pictures=None, written=written)
    return written


def _rows(results: Results) -> list[Row]:
    """Return attack and source of each row, for all variants of all attacks."""
    return [
        (attack, source if results.needs_source(attack) else None)
        for attack in results.attacks
        for source in rows(results, attack)
    ]


def _streamed(results: Results, folder: Path, wanted: int) -> Iterator[Pictures]:
    """Yield the first images with their written pictures, a shard at a time."""
    reader = results.reader()
    count = 0
    for shard_id, shard in reader.shards():
        if shard is None:
            continue
        return_freed_memory()
        scale = min(1.0, PICTURE_SIDE / max(shard.images.shape[-2:]))
        shown = [
            Pictures(name, folder / f"{count + place + 1:05}", scale)
            for place, name in enumerate(shard.image_ids[: wanted - count])
        ]
        _save_clean(results, shard, shown)
        for aes in reader.adversarial(shard_id, shard):
            for pictures, image, clean in zip(shown, aes.images, shard.images, strict=False):
                row = (aes.attack, aes.source)
                pictures.save(row, "image", np.asarray(rgb(image)), exact=False)
                difference = rgb(amplified_difference(image, clean))
                pictures.save(row, "perturbation", np.asarray(difference), exact=False)
        for scored in reader.scored(shard_id, shard, fooled=False):
            row, target = (scored.cell.attack, scored.cell.source), scored.cell.target
            predicted = zip(shown, scored.evaluation.predictions, shard.labels, strict=False)
            for pictures, of_grid, truth in predicted:
                prediction = over_image(of_grid, shard.size)
                label = drawn_label(results.headline, truth, shard.size)
                pictures.save(row, target, colour(results, prediction), exact=True)
                right = (prediction == label)[label != IGNORE_INDEX]
                pictures.right[row, target] = f"{100 * right.mean():.0f} %" if len(right) else ""
        yield from shown
        count += len(shown)
        if count >= wanted:
            return


def _save_clean(results: Results, shard: Shard, shown: list[Pictures]) -> None:
    for pictures, image, label in zip(shown, shard.images, shard.labels, strict=False):
        pictures.save((CLEAN, None), "image", np.asarray(rgb(image)), exact=False)
        drawn = drawn_label(results.headline, label, shard.size)
        pictures.save((CLEAN, None), "label", colour(results, drawn), exact=True)


def _write_page(
    results: Results, pictures: Pictures, lines: list[Row], number: int, folder: Path
) -> None:
    """Write the page of an image."""
    names = {(CLEAN, None): CLEAN} | {
        row: row_name(results, row[0], row[1] or results.sources[0]) for row in lines
    }
    _write(
        folder / f"{pictures.folder.name}.html",
        results,
        pictures=pictures,
        lines=names,
        number=number,
        words={attack: settings(results, attack) for attack in results.attacks},
        white_box={
            pair
            for pair in product(results.sources, results.targets)
            if results.group(*pair) == "diagonal"
        },
        amplification=AMPLIFICATION,
        palette=[f"#{bytes(shade).hex()}" for shade in results.manifest.palette],
    )


def _write(path: Path, results: Results, **fields: Any) -> None:
    """Write a page of the template."""
    sheets = (HERE / name for name in ("page.css", "images.css"))
    css = Markup("".join(sheet.read_text(encoding="utf-8") for sheet in sheets))
    template = page_environment().get_template("images.html")
    page = template.render(results=results, report=PAGE, css=css, **fields)
    path.write_text(page, encoding="utf-8")
