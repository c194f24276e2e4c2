"""Figures of drawn tables: tables side by side, and a key to colours and marks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from segtransfer.reporting.drawn_tables import (
    LINE_HEIGHT,
    NOTE,
    TEXT,
    TITLE,
    DrawnTable,
    Geometry,
    draw_table,
    width_of_text,
    wrapped,
    writer,
)

PAGE_WIDTH = 10.0  # inches; at 830 pixels a text of 9 points is 10 pixels high
MARGIN, GUTTER = 0.12, 0.35
HEADING_LINE, KEY_LINE, BAR_WIDTH, SAMPLE_WIDTH = 0.22, 0.22, 1.3, 0.4
KeyLine = list[tuple[str, tuple[str, ...]]]  # samples and the lines of their texts
KeyLines = list[KeyLine]


@dataclass(frozen=True)
class TableKey:
    """The explanation of colours and marks.

    Attributes:
        colourmap: The colours, from ``low`` to ``high``.
        low: The text at the left of the colours.
        high: The text at the right of the colours.
        caption: The meaning of the colours.
        marks: A sample and its meaning; the sample ``frame`` is a framed cell.
    """

    colourmap: mpl.colors.Colormap
    low: str
    high: str
    caption: str
    marks: tuple[tuple[str, str], ...]


class _Page:
    """A figure in inches from its upper left corner.

    Args:
        size: The width and the height of the figure in inches.
        new_figure: Builds the figure from ``figsize``.
    """

    def __init__(self, size: tuple[float, float], new_figure: Callable[..., Figure]) -> None:
        self._size = size
        self.figure = new_figure(figsize=size)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Add axes with their upper left corner at ``x`` and ``y``.

        Args:
            x: Inches from the left.
            y: Inches from the top.
            width: Inches.
            height: Inches.
        """
        across, down = self._size
        box = (x / across, 1 - (y + height) / down, width / across, height / down)
        return self.figure.add_axes(box)

    def heading(self, lines: Sequence[str]) -> None:
        """Write the heading of the figure."""
        across, down = self._size
        for i, line in enumerate(lines):
            y = 1 - (MARGIN + HEADING_LINE * i) / down
            self.figure.text(MARGIN / across, y, line, fontsize=TITLE, va="top", parse_math=False)


def draw_tables(
    tables: Sequence[DrawnTable],
    heading: str,
    key: TableKey | None,
    new_figure: Callable[..., Figure] = Figure,
    cell: float | None = None,
) -> Figure:
    """Draw tables side by side, as many as fit on a page, and a key in the last place or below.

    Args:
        tables: One table or more; all have cells of the same size.
        heading: The heading of the figure.
        key: The meaning of colours and marks; None for none.
        new_figure: Builds the figure from ``figsize``.
        cell: The width of a cell in inches. Default: by the number of columns.

    Returns:
        The figure: axes per table, then the axes of the key.
    """
    geometry = Geometry(tables, cell)
    across = int((PAGE_WIDTH + GUTTER) // (geometry.width + GUTTER))
    across = max(1, min(across, len(tables)))
    step = geometry.width + GUTTER
    width = across * step - GUTTER
    lines = [part for line in heading.splitlines() for part in wrapped(line, width, TITLE)]
    rows = [tables[i : i + across] for i in range(0, len(tables), across)]
    heights = [max(map(geometry.height, row)) for row in rows]
    free = len(rows[-1]) < across  # the place that the key takes
    room = geometry.width if free else width
    parts = [] if key is None else _key_lines(key, room)
    if free:
        heights[-1] = max(heights[-1], _key_height(parts))
    top = MARGIN + HEADING_LINE * len(lines) + (0.1 if lines else 0)
    tops = [top + sum(heights[:i]) + GUTTER * 0.7 * i for i in range(len(rows))]
    bottom = tops[-1] + heights[-1]
    below = 0.0 if free or key is None else GUTTER / 2 + _key_height(parts)
    page = _Page((width + 2 * MARGIN, bottom + below + MARGIN), new_figure)
    page.heading(lines)
    for row, y in zip(rows, tops, strict=True):
        for place, table in enumerate(row):
            axes = page.axes(MARGIN + place * step, y, geometry.width, geometry.height(table))
            draw_table(axes, table, geometry)
    if key is not None:
        corner = (
            (MARGIN + len(rows[-1]) * step, tops[-1]) if free else (MARGIN, bottom + GUTTER / 2)
        )
        _draw_key(page.axes(*corner, room, _key_height(parts)), key, parts, room)
    return page.figure


def _key_lines(key: TableKey, width: float) -> KeyLines:
    """Return the samples and wrapped texts of a key, in lines of at most ``width`` inches."""
    items = [("bar", key.caption), *key.marks]
    lines: KeyLines = []
    used = width
    for sample, text in items:
        room = width - _sample_width(sample, key) - 0.1
        parts = wrapped(text, room, TEXT)
        need = _sample_width(sample, key) + max(width_of_text(p, TEXT) for p in parts) + 0.3
        if used + need > width + 0.3 or not lines:
            lines.append([])
            used = 0.0
        lines[-1].append((sample, parts))
        used += need
    return lines


def _sample_width(sample: str, key: TableKey) -> float:
    if sample == "bar":
        ends = width_of_text(key.low, TEXT) + width_of_text(key.high, TEXT)
        return BAR_WIDTH + ends + 0.25
    return SAMPLE_WIDTH if sample == "frame" else width_of_text(sample, NOTE) + 0.1


def _key_height(lines: KeyLines) -> float:
    return sum(_line_height(line) for line in lines)


def _line_height(line: KeyLine) -> float:
    return KEY_LINE + LINE_HEIGHT * (max(len(parts) for _, parts in line) - 1)


def _draw_key(axes: Axes, key: TableKey, lines: KeyLines, width: float) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(_key_height(lines), 0)
    write, y = writer(axes), 0.0
    for line in lines:
        x, middle = 0.0, y + KEY_LINE / 2
        for sample, parts in line:
            if sample == "bar":
                write(x, middle, key.low, TEXT)
                left = x + width_of_text(key.low, TEXT) + 0.07
                bar = (left, left + BAR_WIDTH, middle + 0.06, middle - 0.06)
                gradient = np.linspace(0, 1, 256)[None]
                axes.imshow(gradient, key.colourmap, aspect="auto", extent=bar)
                write(left + BAR_WIDTH + 0.07, middle, key.high, TEXT)
            elif sample == "frame":
                axes.add_patch(Rectangle((x + 0.02, middle - 0.07), 0.28, 0.14, fill=False,
                                         ec="black", lw=1.4))  # fmt: skip
            else:
                write(x, middle, sample, NOTE)
            x += _sample_width(sample, key)
            for i, text in enumerate(parts):
                write(x, middle + i * LINE_HEIGHT, text, TEXT)
            x += max(width_of_text(p, TEXT) for p in parts) + 0.3
        y += _line_height(line)
    axes.set_xlim(0, width)
    axes.set_ylim(_key_height(lines), 0)
