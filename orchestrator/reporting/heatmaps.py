"""Transfer matrices as heat maps, with fixed colour limits and model order."""

import math
import textwrap
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from segtransfer.results import Results
from segtransfer.results.text import number
from segtransfer.results.views import transfer_matrix

SEQUENTIAL_COLOURMAP = mpl.colormaps["viridis"]
PERCENT_RANGE = (0.0, 100.0)  # of colours; equal in all figures, which makes runs comparable
MISSING_COLOUR = (0.9, 0.9, 0.9, 1.0)
FIGURES_ACROSS = 3  # attacks side by side
LONGEST_TICK_LABEL = 14  # characters of a horizontal label; longer labels are slanted


def draw_matrix(results: Results, attack: str) -> Figure:
    """Draw an attack's matrix below a row of clean values."""
    return _draw(results, [attack])


def draw_overview(results: Results) -> Figure:
    """Draw the matrices of all attacks of an experiment."""
    return _draw(results, results.attacks)


def draw_small(results: Results, attack: str) -> Figure:
    """Draw an attack's matrix, legible at 256 x 256 pixels: whole numbers and no legend."""
    matrix = transfer_matrix(results, attack)
    names = [row.name for row in matrix.rows]
    table = np.array([matrix.clean, *([c.miou for c in row.cells] for row in matrix.rows)])
    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots()
    colours = SEQUENTIAL_COLOURMAP.with_extremes(bad=MISSING_COLOUR)
    axes.imshow(table, colours, aspect="auto", vmin=PERCENT_RANGE[0], vmax=PERCENT_RANGE[1])
    for (line, column), value in np.ndenumerate(table):
        text = "–" if math.isnan(value) else f"{value:.0f}"
        ink = _colours(value)[1]
        axes.text(column, line, text, ha="center", va="center", color=ink, fontsize=12)
    axes.set_ylim(len(results.sources) + 0.5, -0.5)  # equal row heights in all figures
    axes.axhline(0.5, color="white", lw=4)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("bottom")
    axes.set_xticks(range(len(results.targets)), results.targets, rotation=30, ha="left")
    axes.set_yticks(range(len(table)), ["clean", *names])
    axes.tick_params(length=0, labelsize=11)
    eps = results.attack_spec(attack).eps * 255
    axes.set_title(f"{attack}, eps {eps:g}/255", fontsize=13, fontweight="bold")
    axes.set_xlabel(matrix.headlines[-1].text, fontsize=11)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure


def _draw(results: Results, attacks: list[str]) -> Figure:
    across = min(FIGURES_ACROSS, len(attacks))
    down = math.ceil(len(attacks) / across)
    width = 1.9 + 1.15 * len(results.targets)
    height = 1.9 + 0.62 * (len(results.sources) + 1)
    figure = Figure(figsize=(width * across + 0.9, height * down + 0.5), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for axes, attack in zip(grid.flat, attacks, strict=False):
        _matrix(axes, results, attack)
    for axes in grid.flat[len(attacks) :]:
        axes.set_axis_off()
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(*PERCENT_RANGE), SEQUENTIAL_COLOURMAP)
    figure.colorbar(scale, ax=grid, label="dataset mIoU, %", shrink=0.8, aspect=30)
    figure.suptitle(
        f"{results.name}: {len(results.image_ids)} images of {results.manifest.dataset}",
        fontsize=12,
    )
    return figure


def _matrix(axes: Axes, results: Results, attack: str) -> None:
    """Draw the clean row at 0, a gap, then a row per source."""
    matrix = transfer_matrix(results, attack)
    targets, shown, gap = matrix.targets, matrix.rows, 0.25
    for column, clean in enumerate(matrix.clean):
        _cell(axes, column, 0, clean, "")
        for line, row in enumerate(shown):
            cell, y = row.cells[column], line + 1 + gap
            note = "" if math.isnan(cell.drop) else f"{-cell.drop:+.1f}".replace("-", "−")
            _cell(axes, column, y, cell.miou, note)
            if cell.white_box:
                box = Rectangle(
                    (column - 0.47, y - 0.47), 0.94, 0.94, fill=False, ec="white", lw=1.4
                )
                axes.add_patch(box)
    axes.set_xlim(-0.5, len(targets) - 0.5)
    axes.set_ylim(len(results.sources) + gap + 0.5, -0.5)
    slanted: dict[str, Any] = {"rotation": 20, "ha": "right", "rotation_mode": "anchor"}
    long = max(map(len, targets)) > LONGEST_TICK_LABEL
    axes.set_xticks(range(len(targets)), targets, **(slanted if long else {}))
    names = [row.name for row in shown]
    axes.set_yticks([0, *(i + 1 + gap for i in range(len(shown)))], ["clean", *names])
    axes.tick_params(length=0, labelsize=9)
    lines = textwrap.wrap(matrix.settings, 20 + 18 * len(targets))
    axes.set_title(attack, fontsize=11, fontweight="bold", loc="left", pad=6 + 10 * len(lines))
    axes.text(0, 1.02, "\n".join(lines), transform=axes.transAxes, fontsize=7.5)
    axes.set_xlabel("\n".join(mean.text for mean in matrix.headlines), fontsize=8, loc="left")
    for side in axes.spines.values():
        side.set_visible(False)


def _cell(axes: Axes, x: float, y: float, value: float, note: str) -> None:
    colour, ink = _colours(value)
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=colour, lw=0))
    text, size = number(value).replace(" ", "\n"), 7.5 if math.isnan(value) else 11
    axes.text(
        x, y - (0.08 if note else 0), text, ha="center", va="center", color=ink, fontsize=size
    )
    axes.text(x, y + 0.27, note, ha="center", va="center", color=ink, fontsize=7.5)


def _colours(value: float) -> tuple[tuple[float, ...], str]:
    """Return the colours of a cell and of its text."""
    if math.isnan(value):
        return MISSING_COLOUR, "black"
    colour = SEQUENTIAL_COLOURMAP((value - PERCENT_RANGE[0]) / np.ptp(PERCENT_RANGE))
    return colour, "black" if float(np.dot(colour[:3], (0.299, 0.587, 0.114))) > 0.5 else "white"
