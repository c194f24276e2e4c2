"""View of a breakdown, drawn alike by the terminal, Markdown, the page, JSON and DataFrames."""

import math
from dataclasses import dataclass

import pandas as pd

from segtransfer.statistics import Interval

ESTIMATES = ("clean", "attacked", "drop")


@dataclass(frozen=True)
class PartRow:
    """A part of the images under an attack.

    Attributes:
        part: The name: a class, a quarter of object sizes, a region, or an image id.
        pixels: The number of labelled pixels of the part, over all images; a classifier labels one
            pixel per image.
        images: The number of images with such pixels.
        clean: The measure on clean images in percent, mean over the targets of the pairs.
        attacked: The measure under attack in percent, mean over pairs.
        drop: Clean minus attacked in percentage points, mean over pairs.
        z: The robust z-score of the image's drop; NaN for other parts.
    """

    part: str
    pixels: int
    images: int
    clean: Interval
    attacked: Interval
    drop: Interval
    z: float = math.nan


@dataclass(frozen=True)
class PartTable:
    """The parts of the images under an attack on a pair group.

    Attributes:
        attack: The name of the attack's variant.
        group: The pair group; empty for an attack without a source.
        words: The pair group in words.
        pairs: The number of pairs in the means; of targets, for an attack without a source.
        rows: A row per part.
        about: A sentence on all parts; may be empty.
    """

    attack: str
    group: str
    words: str
    pairs: int
    rows: tuple[PartRow, ...]
    about: str = ""


@dataclass(frozen=True)
class Breakdown:
    """A measure by parts of the images, per attack and pair group.

    Attributes:
        by: The kind of the parts, a name of ``BREAKDOWNS``.
        measure: The measure in words, for example ``IoU``.
        tables: A table per attack and pair group with all results.
        notes: Sentences on definitions, and on results and intervals that are missing.
    """

    by: str
    measure: str
    tables: tuple[PartTable, ...]
    notes: tuple[str, ...]

    def frame(self) -> pd.DataFrame:
        """Return the rows of all tables.

        Returns:
            Columns ``attack``, ``group``, ``part``, ``pixels``, ``images``; ``clean``, ``attacked``
            (percent) and ``drop`` (percentage points), each followed by its bounds ``_low`` and
            ``_high``; and ``z``. Bounds without an interval and ``z`` of other parts than images
            are NaN. ``attrs["notes"]`` has the notes.
        """
        rows = [
            {"attack": table.attack, "group": table.group, **_flat(row)}
            for table in self.tables
            for row in table.rows
        ]
        bounds = [name for e in ESTIMATES for name in (e, f"{e}_low", f"{e}_high")]
        names = ["attack", "group", "part", "pixels", "images", *bounds, "z"]
        frame = pd.DataFrame(rows, columns=names)
        frame.attrs["notes"] = list(self.notes)
        return frame


def _flat(row: PartRow) -> dict[str, str | int | float]:
    flat: dict[str, str | int | float] = {
        "part": row.part,
        "pixels": row.pixels,
        "images": row.images,
    }
    for name in ESTIMATES:
        interval: Interval = getattr(row, name)
        bounds = (interval.value, interval.low, interval.high)
        flat |= dict(zip((name, f"{name}_low", f"{name}_high"), bounds, strict=True))
    return flat | {"z": row.z}
