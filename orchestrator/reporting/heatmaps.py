"""Transfer matrices as heat maps, with fixed colour limits and model order."""

import math
import textwrap
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from segtransfer.results import Results
from segtransfer.results.text import number, unit
from segtransfer.results.views import transfer_matrix
from segtransfer.tasks.metrics import METRICS
from segtransfer.tasks.schema import strength_text

SEQUENTIAL_COLOURMAP = mpl.colormaps["viridis"]
PERCENT_RANGE = (0.0, 100.0)  # of colours; equal in all figures, which makes runs comparable
MISSING_COLOUR = (0.9, 0.9, 0.9, 1.0)
FIGURES_ACROSS = 3  # attacks side by side
LONGEST_TICK_LABEL = 14  # characters of a horizontal label; longer labels are slanted
NAME_INCHES, TITLE_INCHES = 0.09, 0.13  # per character of a tick label and of a title


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
    table = np.array([matrix.clean, *([c.value for c in row.cells] for row in matrix.rows)])
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
    eps = strength_text(results.attack_spec(attack).eps)
    axes.set_title(f"{attack}, eps {eps}", fontsize=13, fontweight="bold")
    axes.set_xlabel(matrix.headlines[-1].text, fontsize=11)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure


def plot_matrix(results: Results, attack: str, metric: str, ax: Axes | None) -> Axes:
    """Draw an attack's matrix of a metric as a figure of pyplot, or into given axes.

    Args:
        results: The results.
        attack: The name of an attack's variant.
        metric: A metric of ``Results.matrix``.
        ax: The axes to draw into, without a colour bar; None for a new figure.
    """
    if ax is None:
        from matplotlib import pyplot  # chooses a back end, which a command needs not

        return _draw(results, [attack], metric, pyplot.figure).axes[0]
    _matrix(ax, results, attack, metric)
    return ax


def _draw(
    results: Results,
    attacks: list[str],
    metric: str = "miou",
    new_figure: Callable[..., Figure] = Figure,
) -> Figure:
    across = min(FIGURES_ACROSS, len(attacks))
    down = math.ceil(len(attacks) / across)
    names = max(map(len, {*results.sources, *results.targets})) - LONGEST_TICK_LABEL
    beside = NAME_INCHES * max(0, names)
    title = TITLE_INCHES * max(map(len, attacks))
    width = max(1.9 + beside + 1.15 * len(results.targets), title + beside)
    height = 1.9 + beside / 2 + 0.62 * (len(results.sources) + 1)
    figure = new_figure(figsize=(width * across + 0.9, height * down + 0.5), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for axes, attack in zip(grid.flat, attacks, strict=False):
        _matrix(axes, results, attack, metric)
    for axes in grid.flat[len(attacks) :]:
        axes.set_axis_off()
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(*PERCENT_RANGE), colourmap_of(metric))
    label = f"{'dataset ' if metric == 'miou' else ''}{METRICS.find(metric).label}, {unit(metric)}"
    figure.colorbar(scale, ax=grid, label=label, shrink=0.8, aspect=30)
    figure.suptitle(
        f"{results.name}: {len(results.image_ids)} images of {results.manifest.dataset}",
        fontsize=12,
        parse_math=False,
    )
    return figure


def colourmap_of(metric: str) -> mpl.colors.Colormap:
    """Return the colours of a metric: a strong attack is dark under every metric."""
    lower = METRICS.find(metric).lower_fools_more
    return SEQUENTIAL_COLOURMAP if lower else SEQUENTIAL_COLOURMAP.reversed()


def _matrix(axes: Axes, results: Results, attack: str, metric: str) -> None:
    """Draw the clean row at 0, a gap, then a row per source."""
    matrix, colours = transfer_matrix(results, attack, metric), colourmap_of(metric)
    targets, shown, gap = matrix.targets, matrix.rows, 0.25 if matrix.clean else -1.0
    for column, clean in enumerate(matrix.clean):
        _cell(axes, column, 0, clean, "", colours)
    for line, row in enumerate(shown):
        for column, cell in enumerate(row.cells):
            y = line + 1 + gap
            note = "" if math.isnan(cell.drop) else f"{-cell.drop:+.1f}".replace("-", "−")
            _cell(axes, column, y, cell.value, note, colours)
            if cell.white_box:
                ink, corner = _colours(cell.value, colours)[1], (column - 0.47, y - 0.47)
                axes.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, ec=ink, lw=1.4))
    axes.set_xlim(-0.5, len(targets) - 0.5)
    axes.set_ylim(len(results.sources) + gap + 0.5, -0.5)
    slanted: dict[str, Any] = {"rotation": 20, "ha": "right", "rotation_mode": "anchor"}
    long = max(map(len, targets)) > LONGEST_TICK_LABEL
    axes.set_xticks(range(len(targets)), targets, **(slanted if long else {}))
    names = [row.name for row in shown]
    clean_tick = {0.0: "clean"} if matrix.clean else {}
    ticks = clean_tick | {line + 1 + gap: name for line, name in enumerate(names)}
    axes.set_yticks([*ticks], [*ticks.values()])
    axes.tick_params(length=0, labelsize=9)
    lines = textwrap.wrap(matrix.settings, 20 + 18 * len(targets))
    axes.set_title(attack, fontsize=11, fontweight="bold", loc="left", pad=6 + 10 * len(lines))
    axes.text(0, 1.02, "\n".join(lines), transform=axes.transAxes, fontsize=7.5, parse_math=False)
    axes.set_xlabel("\n".join(mean.text for mean in matrix.headlines), fontsize=8, loc="left")
    for side in axes.spines.values():
        side.set_visible(False)


def _cell(
    axes: Axes, x: float, y: float, value: float, note: str, colourmap: mpl.colors.Colormap
) -> None:
    colour, ink = _colours(value, colourmap)
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=colour, lw=0))
    text = number(value).replace(" ", "\n").replace("-", "−")
    size = 7.5 if math.isnan(value) else 11
    axes.text(
        x, y - (0.08 if note else 0), text, ha="center", va="center", color=ink, fontsize=size
    )
    axes.text(x, y + 0.27, note, ha="center", va="center", color=ink, fontsize=7.5)


def _colours(
    value: float, colourmap: mpl.colors.Colormap = SEQUENTIAL_COLOURMAP
) -> tuple[tuple[float, ...], str]:
    """Return the colours of a cell and of its text."""
    if math.isnan(value):
        return MISSING_COLOUR, "black"
    colour = colourmap((value - PERCENT_RANGE[0]) / np.ptp(PERCENT_RANGE))
    return colour, "black" if float(np.dot(colour[:3], (0.299, 0.587, 0.114))) > 0.5 else "white"
