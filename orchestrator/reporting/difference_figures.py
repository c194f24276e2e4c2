"""Figures of comparisons: diverging heat maps, green if B fools more."""

import math

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from segtransfer.comparison import Comparison
from segtransfer.reporting.comparison_layout import (
    Grid,
    attack_lines,
    cell_lines,
    lay_out,
    mean_phrases,
    pair_title,
    title,
)
from segtransfer.reporting.drawn_tables import DrawnCell, DrawnRow, DrawnTable, Geometry
from segtransfer.reporting.heatmaps import WHITE_BOX_KEY
from segtransfer.reporting.matrix_tables import SOURCE_AXIS, TARGET_AXIS, by_backbone
from segtransfer.reporting.shading import ink_on
from segtransfer.reporting.table_pages import TableKey, draw_tables

GREEN_IS_POSITIVE = mpl.colormaps["PRGn"]
INTERVAL_CELL = 1.08  # inches, for an interval in a line
ENDS = (1, 2, 5, 10, 20, 50, 100)  # points, at which the colours of a comparison may end


def draw_differences(comparison: Comparison, attack: str | None = None) -> Figure:
    """Draw the differences of pairs of attacks, with means, intervals and verdicts.

    Args:
        comparison: The comparison.
        attack: B's attack of a single pair; None for all pairs.

    Returns:
        A figure with a heat map per pair, whose colours have the same ends for every pair.
    """
    pairs = [pair for pair in comparison.attacks if attack in (None, pair[1])]
    tables = [_drawn(comparison, pair) for pair in pairs]
    run, end = comparison.b, colour_end(comparison)
    images = f"{len(run.image_ids)} images of {run.manifest.dataset}"
    key = _key(comparison, tables, end)
    return draw_tables(tables, f"{title(comparison)}: {images}", key, cell=INTERVAL_CELL)


def colour_end(comparison: Comparison) -> float:
    """Return the absolute difference in points at which the colours of all pairs end.

    Returns:
        The least of 1, 2, 5, 10, 20, 50 and 100 above all absolute differences; at most 100.
    """
    most = comparison.frame["difference"].abs().max()
    return float(next((end for end in ENDS if not most > end), ENDS[-1]))


def _key(comparison: Comparison, tables: list[DrawnTable], end: float) -> TableKey:
    cells = [c for table in tables for row in table.rows for c in row.cells if c is not None]
    marks = [WHITE_BOX_KEY] * any(cell.framed for cell in cells)
    if not Geometry(tables).small:
        marks.append(("−1.00*", "bold with a star: beyond noise"))
        marks.append(("[−2.00, +0.00]", "95 % interval"))
    return TableKey(
        _colourmap(comparison),
        f"−{end:g}",
        f"+{end:g}",
        f"{comparison.metric_name} of B minus that of A, points; green: B is the stronger attack",
        tuple(marks),
    )


def _colourmap(comparison: Comparison) -> mpl.colors.Colormap:
    return GREEN_IS_POSITIVE.reversed() if comparison.negative_fools_more else GREEN_IS_POSITIVE


def _drawn(comparison: Comparison, pair: tuple[str, str]) -> DrawnTable:
    """Return a pair's table: models grouped by backbone, then the means."""
    grid, run = lay_out(comparison, pair[1]), comparison.b
    targets = grid.columns[: len(grid.columns) - grid.mean_columns]
    sources = grid.lines[: len(grid.lines) - grid.mean_lines]
    groups = by_backbone(run, targets)
    columns = [(group.name, group.models) for group in groups]
    order = [targets.index(model) for group in groups for model in group.models]
    if grid.mean_columns:
        means = tuple(name.removeprefix("mean, ") for name in grid.columns[len(targets) :])
        columns.append(("mean", means))
        order += range(len(targets), len(grid.columns))
    sections = [[_row(comparison, grid, number, order) for number in range(len(sources))]]
    if set(sources) <= set(run.manifest.models):
        sections = [
            [
                _row(comparison, grid, sources.index(model), order, group.name)
                for model in group.models
            ]
            for group in by_backbone(run, sources)
        ]
    below = range(len(sources), len(grid.lines))
    sections.append([_row(comparison, grid, number, order) for number in below])
    return DrawnTable(
        title=pair_title(pair),
        lines=(
            *attack_lines(comparison, pair),
            f"Means: {', '.join(mean_phrases(comparison, pair[1]))}",
            comparison.verdict(pair[1]),
        ),
        row_axis=SOURCE_AXIS,
        column_axis=TARGET_AXIS,
        columns=tuple(columns),
        sections=tuple(tuple(section) for section in sections if section),
    )


def _row(
    comparison: Comparison, grid: Grid, line: int, order: list[int], detail: str = ""
) -> DrawnRow:
    cells = [grid.values.get((line, column)) for column in order]
    label = " ".join(grid.lines[line].split())
    drawn = tuple(None if cell is None else _cell(comparison, cell) for cell in cells)
    return DrawnRow(label, detail, drawn)


def _cell(comparison: Comparison, row: pd.Series) -> DrawnCell:
    value, *interval = cell_lines(row)
    if math.isnan(row["difference"]):
        return DrawnCell(value)
    end = colour_end(comparison)
    colour, ink = ink_on(_colourmap(comparison)((row["difference"] / end + 1) / 2))
    return DrawnCell(
        value, "".join(interval), colour, ink, row["group"] == "diagonal", bool(row["beyond_noise"])
    )
