"""Drawing of tables of coloured cells: all sizes are in inches, so texts keep their places."""

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle

CELL_WIDTH, NARROW_CELL, MANY_COLUMNS = 0.98, 0.8, 5
MOST_WRITTEN, SMALL_CELL, SMALL_ROW = 24, 0.13, 0.13  # columns with numbers; inches beyond
ROW_HEIGHT, LINE_HEIGHT, GROUP_GAP = 0.46, 0.135, 0.1
LABEL_WIDTH = 1.5  # inches, at which names are wrapped
TITLE_HEIGHT, BOLDER = 0.2, 1.13  # inches, and the width of bold type over that of regular type
GREY = "#555555"
TITLE, TEXT, NAME, VALUE, NOTE = 11, 8, 8.5, 10.5, 7.5  # points
SMALL_NAME = 6  # points, of the names in a table without numbers


@dataclass(frozen=True)
class DrawnCell:
    """A cell: its value, a note below in small type, and its look."""

    text: str
    note: str = ""
    colour: str = "#e6e6e6"
    ink: str = "#000"
    framed: bool = False
    bold: bool = False


@dataclass(frozen=True)
class DrawnRow:
    """A row: its label, a detail below in small type, and its cells; None leaves a place empty."""

    label: str
    detail: str
    cells: tuple[DrawnCell | None, ...]


@dataclass(frozen=True)
class DrawnTable:
    """A table with the names of both axes.

    Attributes:
        title: The title.
        lines: Sentences below the title.
        row_axis: The name of the rows.
        column_axis: The name of the columns.
        columns: The heading and the names of each group of columns.
        sections: The rows, in groups with gaps between them.
    """

    title: str
    lines: tuple[str, ...]
    row_axis: str
    column_axis: str
    columns: tuple[tuple[str, tuple[str, ...]], ...]
    sections: tuple[tuple[DrawnRow, ...], ...]

    @property
    def rows(self) -> list[DrawnRow]:
        """Return the rows of all sections."""
        return list(chain.from_iterable(self.sections))


def width_of_text(text: str, points: float) -> float:
    """Return the width of a text of one line, in inches.

    Args:
        text: The text, in matplotlib's default font.
        points: The size of the type.
    """
    return points / 72 * sum(map(_advance, text))


@cache
def _advance(character: str) -> float:
    """Return the width of a character over the size of its type; 1 if the font lacks it."""
    loaded = get_font(findfont(FontProperties()))
    if not loaded.get_char_index(ord(character)):  # loading would raise
        return 1.0
    loaded.set_size(100, 72)
    return float(loaded.load_char(ord(character)).linearHoriAdvance) / 65536 / 100


@cache
def wrapped(text: str, inches: float, points: float) -> tuple[str, ...]:
    """Return the lines of a text, each at most ``inches`` wide; long names are broken.

    Args:
        text: The text.
        inches: The greatest width of a line.
        points: The size of the type.

    Returns:
        One line or more; a word wider than ``inches`` is broken.
    """
    for characters in range(len(text), 1, -1):
        lines = textwrap.wrap(text, characters)
        if all(width_of_text(line, points) <= inches for line in lines):
            return tuple(lines)
    return tuple(text)


def upright(name: str) -> str:
    """Return the name of a column as a single line."""
    return " ".join(name.split())


class Geometry:
    """Sizes that all tables of a figure share."""

    def __init__(self, tables: Sequence[DrawnTable], cell: float | None = None) -> None:
        self.columns = max(sum(len(names) for _, names in t.columns) for t in tables)
        self.small = self.columns > MOST_WRITTEN  # cells have colours and no numbers
        wide = CELL_WIDTH if self.columns < MANY_COLUMNS else NARROW_CELL
        self.cell = SMALL_CELL if self.small else cell or wide
        labels = [line for t in tables for row in t.rows for line in self.label(row)]
        widest = max(width_of_text(text, points) for text, points in labels)
        axes = [width_of_text(f"{t.row_axis} ↓", TEXT) for t in tables]
        self.labels = max(widest, *axes) + 0.12
        groups = max(len(t.columns) for t in tables)
        self.width = self.labels + self.columns * self.cell + (groups - 1) * GROUP_GAP

    def label(self, row: DrawnRow) -> list[tuple[str, float]]:
        """Return the lines of a row's label with their sizes in points.

        Returns:
            The lines of the label and of the detail, each with its size.
        """
        if self.small:
            return [(row.label, SMALL_NAME)]
        names = [(line, NAME) for line in wrapped(row.label, LABEL_WIDTH, NAME)]
        details = wrapped(row.detail, LABEL_WIDTH + 0.3, NOTE) if row.detail else ()
        return [*names, *((line, NOTE) for line in details)]

    def row_height(self, table: DrawnTable) -> float:
        """Return the height of each row of a table."""
        if self.small:
            return SMALL_ROW
        lines = max(len(self.label(row)) for row in table.rows)
        return max(ROW_HEIGHT, 0.08 + LINE_HEIGHT * lines)

    def title(self, table: DrawnTable) -> tuple[str, ...]:
        """Return the lines of a table's title."""
        return wrapped(table.title, self.width, BOLDER * TITLE)

    def lines(self, table: DrawnTable) -> list[str]:
        """Return the lines below a table's title."""
        return [part for line in table.lines for part in wrapped(line, self.width, TEXT)]

    def heading(self, heading: str, count: int) -> tuple[str, ...]:
        """Return the lines of the heading of a group of columns.

        Args:
            heading: The heading, which may be empty.
            count: The number of columns.

        Returns:
            No line above small cells if the heading is wider than the columns.
        """
        room = count * self.cell - 0.04
        if not heading or (self.small and width_of_text(heading, NOTE) > room):
            return ()
        return wrapped(heading, room, NOTE)

    def name(self, name: str) -> tuple[str, ...]:
        """Return the lines of a column's name."""
        return wrapped(name, self.cell - 0.06, NAME)

    def head(self, table: DrawnTable) -> tuple[int, int]:
        """Return the lines of the tallest heading and of the tallest name of the columns."""
        headings = max(len(self.heading(h, len(names))) for h, names in table.columns)
        columns = [name for _, names in table.columns for name in names]
        if self.small:  # names are upright
            longest = max(width_of_text(upright(name), SMALL_NAME) for name in columns)
            return headings, math.ceil(longest / LINE_HEIGHT)
        return headings, max(len(self.name(name)) for name in columns)

    def height(self, table: DrawnTable) -> float:
        """Return the height of a table."""
        lines = len(self.lines(table)) + 1 + sum(self.head(table))
        texts = TITLE_HEIGHT * len(self.title(table)) + LINE_HEIGHT * lines + 0.2
        gaps = (len(table.sections) - 1) * GROUP_GAP
        return texts + len(table.rows) * self.row_height(table) + gaps

    def x(self, table: DrawnTable) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """Yield the heading, the names and the left edge of each group of columns.

        Yields:
            The heading, the names, and the left edge in inches from the left of the table.
        """
        left = self.labels
        for heading, names in table.columns:
            yield heading, names, left
            left += len(names) * self.cell + GROUP_GAP


def draw_table(axes: Axes, table: DrawnTable, geometry: Geometry) -> None:
    """Draw a table into axes, whose units become inches.

    Args:
        axes: The axes; limits, ticks and frame are replaced.
        table: The table.
        geometry: The sizes, shared by all tables of a figure.
    """
    axes.set_axis_off()
    axes.set_xlim(0, geometry.width)
    axes.set_ylim(geometry.height(table), 0)
    write = writer(axes)
    y = 0.04
    for line in geometry.title(table):
        write(0, y + TITLE_HEIGHT / 2 - 0.02, line, TITLE, weight="bold")
        y += TITLE_HEIGHT
    for line in geometry.lines(table):
        write(0, y + LINE_HEIGHT / 2, line, TEXT)
        y += LINE_HEIGHT
    y = _head(axes, table, geometry, y + 0.08)
    height = geometry.row_height(table)
    for section in table.sections:
        for row in section:
            _row(axes, table, row, geometry, y, height)
            y += height
        y += GROUP_GAP


def writer(axes: Axes) -> Callable[..., None]:
    """Return a function that writes text into axes, given x, y, the text and its points."""

    def write(x: float, y: float, text: str, points: float, **style: object) -> None:
        look = {"ha": "left", "va": "center", "parse_math": False} | style
        axes.text(x, y, text, fontsize=points, **look)  # type: ignore[arg-type]

    return write


def _head(axes: Axes, table: DrawnTable, geometry: Geometry, y: float) -> float:
    """Draw the names of axes, groups and columns; return the top of the first row."""
    write = writer(axes)
    write(geometry.labels, y + LINE_HEIGHT / 2, f"{table.column_axis} →", TEXT, color=GREY)
    headings, names = geometry.head(table)
    top = y + LINE_HEIGHT
    bottom = top + headings * LINE_HEIGHT + 0.04
    end = bottom + names * LINE_HEIGHT + 0.04
    write(geometry.labels - 0.08, end - LINE_HEIGHT / 2 - 0.02, f"{table.row_axis} ↓", TEXT,
          color=GREY, ha="right")  # fmt: skip
    for heading, group, left in geometry.x(table):
        right = left + len(group) * geometry.cell
        lines = geometry.heading(heading, len(group))
        for i, line in enumerate(lines):
            height = top + (headings - len(lines) + i + 0.5) * LINE_HEIGHT
            write((left + right) / 2, height, line, NOTE, color=GREY, ha="center")
        if lines:
            axes.plot([left + 0.03, right - 0.03], [bottom - 0.02] * 2, color="#999999", lw=0.8)
        for column, name in enumerate(group):
            if geometry.small:
                place = left + (column + 0.5) * geometry.cell
                look = {"ha": "center", "va": "bottom", "rotation": 90}
                write(place, end - 0.04, upright(name), SMALL_NAME, **look)
                continue
            middle, parts = left + (column + 0.5) * geometry.cell, geometry.name(name)
            for i, line in enumerate(parts):
                height = end - 0.04 - (len(parts) - i - 0.5) * LINE_HEIGHT
                write(middle, height, line, NAME, ha="center")
    return end


def _row(
    axes: Axes, table: DrawnTable, row: DrawnRow, geometry: Geometry, y: float, height: float
) -> None:
    write = writer(axes)
    lines = geometry.label(row)
    for i, (line, points) in enumerate(lines):
        middle = y + height / 2 + (i - (len(lines) - 1) / 2) * LINE_HEIGHT
        grey = {"color": GREY} if points == NOTE else {}
        write(geometry.labels - 0.08, middle, line, points, ha="right", **grey)
    places = [left + i * geometry.cell for _, names, left in geometry.x(table)
              for i in range(len(names))]  # fmt: skip
    cells = [(x, cell) for x, cell in zip(places, row.cells, strict=True) if cell is not None]
    if geometry.small:
        _small_cells(axes, cells, y, geometry.cell, height)
        return
    for left, cell in cells:
        _cell(axes, cell, left, y, geometry.cell, height)


def _small_cells(
    axes: Axes, cells: Sequence[tuple[float, DrawnCell]], top: float, width: float, height: float
) -> None:
    """Draw a row of cells without numbers as a single artist, because a table has thousands.

    Args:
        axes: The axes.
        cells: The left edge and the cell, per cell.
        top: The top of the row.
        width: The width of a cell.
        height: The height of the row.
    """
    boxes = [Rectangle((left, top), width, height) for left, _ in cells]
    colours = [cell.colour for _, cell in cells]
    axes.add_collection(PatchCollection(boxes, facecolors=colours, edgecolors="none"))
    framed = [
        Rectangle((left + 0.01, top + 0.01), width - 0.02, height - 0.02)
        for left, cell in cells
        if cell.framed
    ]
    # Above the cells of the next row.
    frames = PatchCollection(framed, fc="none", ec="black", linewidths=0.8, zorder=3)
    axes.add_collection(frames)


def _cell(
    axes: Axes, cell: DrawnCell, left: float, top: float, width: float, height: float
) -> None:
    inset = 0.045 if cell.framed else 0.012
    axes.add_patch(Rectangle((left + inset, top + inset), width - 2 * inset, height - 2 * inset,
                             color=cell.colour, lw=0))  # fmt: skip
    if cell.framed:
        axes.add_patch(Rectangle((left + 0.02, top + 0.02), width - 0.04, height - 0.04,
                                 fill=False, ec="black", lw=1.4))  # fmt: skip
    write, middle = writer(axes), top + height / 2
    weight = "bold" if cell.bold else "normal"
    lines = cell.text.split("\n")
    size = VALUE if len(lines) == 1 else NOTE
    text = {"ha": "center", "color": cell.ink, "weight": weight}
    write(left + width / 2, middle - (0.075 if cell.note else 0), cell.text, size, **text)
    if cell.note:
        write(left + width / 2, middle + 0.1, cell.note, NOTE, ha="center", color=cell.ink)
