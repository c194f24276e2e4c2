"""Transfer matrices as heat maps: dark cells are strong attacks, under every metric."""

import math
from collections.abc import Callable
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segtransfer.reporting.drawn_tables import (
    MOST_WRITTEN,
    DrawnCell,
    DrawnRow,
    DrawnTable,
    Geometry,
    draw_table,
)
from segtransfer.reporting.matrix_tables import (
    ATTACK_AXIS,
    TARGET_AXIS,
    MatrixTable,
    TableRow,
    matrix_tables,
)
from segtransfer.reporting.shading import Shading, shading_of
from segtransfer.reporting.table_pages import TableKey, draw_tables
from segtransfer.results import Results
from segtransfer.results.text import number, signed_number, unit
from segtransfer.tasks.image_metrics import score_of
from segtransfer.tasks.schema import strength_text

CARD_CELL = 0.62  # inches
WHITE_BOX_KEY = "frame", "white box: the source is the target, or a part of it"


def draw_matrix(results: Results, attack: str) -> Figure:
    """Draw the headline metric of an attack, with a row of clean values and a key.

    Args:
        results: The experiment.
        attack: The name of an attack's variant.
    """
    return _draw(results, [attack])


def draw_overview(results: Results) -> Figure:
    """Draw the headline metric of all attacks of an experiment, with a key.

    Attacks without a source model are rows of every matrix.

    Returns:
        A figure with an axes per table, then the axes of the key.
    """
    return _draw(results, results.attacks)


def draw_small(results: Results, attack: str) -> Figure:
    """Draw the headline metric of an attack at 256 x 256 pixels: whole numbers and no key.

    Args:
        results: The experiment.
        attack: The name of an attack's variant.
    """
    (table,) = matrix_tables(results, [attack])
    shading = shading_of(results)
    eps = strength_text(results.attack_spec(attack).eps)
    drawn = _drawn(table, shading, lambda value: "–" if math.isnan(value) else f"{value:.0f}")
    sections = tuple(
        tuple(
            DrawnRow(row.label, "", tuple(c and replace(c, note="") for c in row.cells))
            for row in section
        )
        for section in drawn.sections
    )
    groups = tuple(("", names) for _, names in drawn.columns)
    means = [f"mean, {view.headlines[-1].text}" for view in table.views]
    lines = (*means, f"{results.quality} {shading.low:.0f} to {shading.high:.0f} %, dark: strong")
    title = f"{attack}, eps {eps}"
    return draw_tables(
        [replace(drawn, title=title, lines=lines, columns=groups, sections=sections)],
        heading="",
        key=None,
        cell=CARD_CELL,
    )


def plot_matrix(results: Results, attack: str, metric: str | None, ax: Axes | None) -> Axes:
    """Draw an attack's matrix of a metric as a figure of pyplot, or into given axes.

    Args:
        results: The results.
        attack: The name of an attack's variant.
        metric: A metric of ``Results.matrix``; None for the headline metric.
        ax: The axes to draw into, without a key; None for a new figure.

    Returns:
        The axes of the matrix.
    """
    if ax is None:
        # Imported here because pyplot chooses a back end, which a command does not need.
        from matplotlib import pyplot

        return _draw(results, [attack], metric, pyplot.figure).axes[0]
    (table,) = matrix_tables(results, [attack], metric)
    drawn = _drawn(table, shading_of(results, metric))
    draw_table(ax, drawn, Geometry([drawn]))
    return ax


def _draw(
    results: Results,
    attacks: list[str],
    metric: str | None = None,
    new_figure: Callable[..., Figure] = Figure,
) -> Figure:
    metric = metric or results.headline
    shading = shading_of(results, metric)
    tables = [_drawn(table, shading) for table in matrix_tables(results, attacks, metric)]
    images = f"{len(results.image_ids)} images of {results.manifest.dataset}"
    return draw_tables(
        tables, f"{results.name}: {images}", _key(results, tables, shading, metric), new_figure
    )


def _key(results: Results, tables: list[DrawnTable], shading: Shading, metric: str) -> TableKey:
    """Return the meaning of colours, frames and small numbers, as far as the tables have them."""
    cells = [c for table in tables for row in table.rows for c in row.cells if c is not None]
    name = score_of(metric, results.headline).label
    label = f"{'dataset ' if metric == 'miou' else ''}{name}, {unit(metric)}"
    marks = [WHITE_BOX_KEY] * any(cell.framed for cell in cells)
    note = max((cell.note for cell in cells), key=lambda note: (len(note), note), default="")
    if note and len(results.targets) <= MOST_WRITTEN:
        marks.append((note, f"change from the clean images, in points of {results.quality}"))
    return TableKey(
        shading.colourmap,
        f"{shading.low:.0f}",
        f"{shading.high:.0f}",
        f"{label}; dark: strong attack",
        tuple(marks),
    )


def _drawn(
    table: MatrixTable, shading: Shading, write: Callable[[float], str] = number
) -> DrawnTable:
    """Return the look of a table: clean row and attacks without a source, then all others."""

    def cell(value: float, drop: float = math.nan, framed: bool = False) -> DrawnCell:
        colour, ink = shading.of(value)
        note = "" if math.isnan(drop) else signed_number(-drop)
        text = write(value).replace(" ", "\n").replace("-", "−")
        return DrawnCell(text, note, colour, ink, framed)

    def row(shown: TableRow) -> DrawnRow:
        cells = tuple(cell(c.value, c.drop, c.white_box) for c in shown.cells)
        return DrawnRow(shown.label, shown.detail, cells)

    clean = DrawnRow("clean", "", tuple(cell(value) for value in table.clean))
    first = ([clean] if table.clean else []) + [row(reference) for reference in table.references]
    sections = [first, *([row(shown) for shown in section] for section in table.sections)]
    return DrawnTable(
        title=table.title,
        lines=_lines(table),
        row_axis=table.row_axis,
        column_axis=TARGET_AXIS,
        columns=tuple((group.name, group.models) for group in table.columns),
        sections=tuple(tuple(section) for section in sections if section),
    )


def _lines(table: MatrixTable) -> tuple[str, ...]:
    """Return the settings of an attack, and the means of each attack."""
    means = [
        ", ".join(mean.text for mean in view.headlines if mean.has_pairs) for view in table.views
    ]
    if table.row_axis == ATTACK_AXIS:
        attacks = [view.attack for view in table.views]
        return tuple(f"{a}, means: {text}" for a, text in zip(attacks, means, strict=True))
    return (table.views[0].settings, *(f"Means: {text}" for text in means))
