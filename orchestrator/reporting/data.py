"""The survey of a data set: its terminal tables, and the contact sheet of labels over images."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from segtransfer.tasks.data.survey import Size, Survey, Thumbnail
from segtransfer.tasks.labels import IGNORE_INDEX

SHEET_COLUMNS, SHEET_ROWS = 6, 4
LEGEND_COLUMNS = 8
OPACITY = 0.55  # of a label over its image
MOST_SIZES = 12  # rows of the table of sizes


def print_survey(survey: Survey, console: Console) -> None:
    """Print counts, classes, sizes, and every fault of a data set.

    Args:
        survey: The survey of a data set.
        console: The terminal.
    """
    every = int(survey.pixels.sum()) + survey.ignored
    ignored = f"{survey.ignored / every:.2%}" if every else "none"
    alone = survey.videos == len(survey.usable)
    console.print(Text(f"Data set {survey.dataset.name}", style="bold"))
    for name, value in (
        ("images", f"{len(survey.usable):,}"),
        ("videos", "none known: each image counts as one" if alone else f"{survey.videos:,}"),
        ("classes", f"{len(survey.dataset.classes)}"),
        ("ignored", f"{ignored} of {every:,} pixels"),
        ("shards", f"{survey.shards:,}"),
    ):
        console.print(f"  {name:8} {value}", highlight=False)
    console.print(_classes(survey))
    console.print(_sizes(survey))
    absent = [
        name
        for name, count in zip(survey.dataset.classes, survey.images_with, strict=True)
        if not count
    ]
    if absent:
        listed = ", ".join(absent)
        console.print(Text(f"Classes that never occur ({len(absent)}): {listed}", style="yellow"))
    if survey.faults:
        console.print(Text(f"Wrong ({len(survey.faults)}):", style="red"))
        for sentence in survey.faults:
            console.print(Text(f"  {sentence}"))
    else:
        console.print("All images and labels are readable and match.")


def _classes(survey: Survey) -> Table:
    table = Table("", "class")
    for column in ("labelled pixels", "share", "images"):
        table.add_column(column, justify="right")
    labelled = max(1, int(survey.pixels.sum()))
    rows = zip(
        survey.dataset.classes, survey.pixels.tolist(), survey.images_with.tolist(), strict=True
    )
    for index, (name, pixels, images) in enumerate(rows):
        share = f"{pixels / labelled:.2%}"
        table.add_row(str(index), Text(name), f"{pixels:,}", share, f"{images:,}")
    return table


def _sizes(survey: Survey) -> Table:
    """Return the table of the most frequent sizes, and a row for all others."""
    table = Table(title="height x width", title_justify="left")
    table.add_column("file", justify="right")
    table.add_column("image on its grid", justify="right")
    table.add_column("label", justify="right")
    table.add_column("images", justify="right")
    common = survey.sizes.most_common()
    for sizes, count in common[:MOST_SIZES]:
        table.add_row(
            _written(sizes.file), _written(sizes.grid), _written(sizes.label), f"{count:,}"
        )
    if rest := common[MOST_SIZES:]:
        names = (f"{len(rest)} other sizes", "", "")
        table.add_row(*names, f"{sum(count for _, count in rest):,}", style="dim")
    return table


def _written(size: Size) -> str:
    return " x ".join(map(str, size))


def write_contact_sheet(survey: Survey, path: Path) -> None:
    """Write a PNG of small images under their labels, with the colours of all classes in it.

    Args:
        survey: The survey, with one small image or more.
        path: The file.

    Raises:
        OSError: If the file cannot be written.
    """
    shown = survey.thumbnails
    columns = min(SHEET_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    there = {int(index) for thumbnail in shown for index in np.unique(thumbnail.label)}
    patches = list(_patches(survey, sorted(there)))
    lines = -(-len(patches) // LEGEND_COLUMNS)
    size = (max(10.0, 2.5 * columns), 2.1 * rows + 0.22 * lines + 0.7)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    for axes in (grid := figure.subplots(rows, columns, squeeze=False)).flat:
        axes.axis("off")
    for axes, thumbnail in zip(grid.flat, shown, strict=False):
        axes.imshow(_blended(survey, thumbnail), interpolation="nearest")
        axes.set_title(_tail(thumbnail.image_id), fontsize=7, parse_math=False)
    count = f"{len(shown)} of {len(survey.usable):,} images"
    figure.suptitle(f"{survey.dataset.name}: {count}", fontsize=11, parse_math=False)
    figure.legend(
        handles=patches, loc="outside lower center", ncols=LEGEND_COLUMNS, fontsize=8,
        frameon=False,
    )  # fmt: skip
    figure.savefig(path, format="png")


def _blended(survey: Survey, thumbnail: Thumbnail) -> np.ndarray:
    """Return an image under its label's colours, uint8 h x w x 3; ignored pixels stay clear."""
    table = np.zeros((IGNORE_INDEX + 1, 3))
    table[: len(survey.dataset.classes)] = survey.dataset.palette
    colours = table[thumbnail.label]
    opacity = np.where(thumbnail.label == IGNORE_INDEX, 0, OPACITY)[..., None]
    return ((1 - opacity) * thumbnail.image + opacity * colours).astype(np.uint8)


def _patches(survey: Survey, there: list[int]) -> Iterator[Patch]:
    """Yield the legend's entry of each value in the shown labels."""
    for index in there:
        if index == IGNORE_INDEX:
            yield Patch(facecolor="white", edgecolor="grey", label="clear: ignored")
        else:
            red, green, blue = (level / 255 for level in survey.dataset.palette[index])
            yield Patch(
                facecolor=(red, green, blue), edgecolor="grey", label=survey.dataset.classes[index]
            )


def _tail(image_id: str) -> str:
    """Return the end of a long id, with the image's name."""
    return image_id if len(image_id) <= 34 else f"…{image_id[-33:]}"
