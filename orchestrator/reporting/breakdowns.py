"""Breakdowns as tables: on the terminal, and as Markdown, a page and JSON in the report folder."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from segtransfer.breakdowns import Breakdown, PartRow, PartTable
from segtransfer.reporting.html.breakdowns import draw_breakdowns
from segtransfer.reporting.paper import (
    MISSING,
    PaperCell,
    PaperRow,
    PaperTable,
    markdown,
    markdown_text,
)
from segtransfer.reporting.paper_tables import images_of, width_of
from segtransfer.reporting.places import report_folder
from segtransfer.results import Results
from segtransfer.results.text import signed_number
from segtransfer.statistics import Interval
from segtransfer.tasks.image_metrics import OF_PIXELS

PARTS_PAGE, PARTS_TEXT, PARTS_DATA = "breakdowns.html", "breakdowns.md", "breakdowns.json"


@dataclass(frozen=True)
class DrawnBreakdown:
    """A breakdown as every surface draws it.

    Attributes:
        title: The heading.
        tables: A table per attack and pair group.
        notes: Sentences below the tables.
    """

    title: str
    tables: tuple[PaperTable, ...]
    notes: tuple[str, ...]


def drawn_breakdown(results: Results, breakdown: Breakdown) -> DrawnBreakdown:
    """Return the tables of a breakdown.

    Args:
        results: The experiment.
        breakdown: The breakdown.
    """
    return DrawnBreakdown(
        title=f"By {breakdown.by}: {breakdown.measure} on {images_of(results)}",
        tables=tuple(_table(results, breakdown, table) for table in breakdown.tables),
        notes=breakdown.notes,
    )


def print_breakdown(drawn: DrawnBreakdown, console: Console) -> None:
    """Print the tables and the notes of a breakdown.

    Args:
        drawn: The breakdown.
        console: The terminal.
    """
    console.print()
    console.print(Text(drawn.title, "bold"))
    for table in drawn.tables:
        console.print()
        console.print(Text(table.caption), soft_wrap=True)
        printed = Table()
        for place, head in enumerate(table.head):
            printed.add_column(head, justify="right" if place else "left", overflow="fold")
        for section in table.sections:
            for row in section:
                cells = [f"{cell.text} {cell.note}".strip() for cell in row.cells]
                printed.add_row(Text(row.name), *map(Text, cells))
            printed.add_section()
        console.print(printed)
    for note in drawn.notes:
        console.print(Text(note, "dim"), soft_wrap=True)


def write_breakdowns(results: Results, breakdowns: Sequence[Breakdown]) -> Path:
    """Write breakdowns.html, breakdowns.md and breakdowns.json into the report folder.

    Older files are replaced.

    Args:
        results: The experiment.
        breakdowns: The breakdowns, in order.

    Returns:
        The folder.
    """
    folder = report_folder(results)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [drawn_breakdown(results, breakdown) for breakdown in breakdowns]
    text = f"# {markdown_text(results.name)}\n\n" + "\n".join(map(_markdown, drawn))
    (folder / PARTS_TEXT).write_text(text, encoding="utf-8")
    (folder / PARTS_DATA).write_text(_json(results, breakdowns), encoding="utf-8")
    sections = [(one.title, one.tables, one.notes) for one in drawn]
    (folder / PARTS_PAGE).write_text(draw_breakdowns(results, sections), encoding="utf-8")
    return folder


def _table(results: Results, breakdown: Breakdown, table: PartTable) -> PaperTable:
    """Return the table of an attack on a pair group; outliers above and below the median apart."""
    outliers = any(not math.isnan(row.z) for row in table.rows)
    noun = "pair" if table.group else "target"
    count = f"{table.pairs} {noun}{'' if table.pairs == 1 else 's'}"
    parts = (
        [[row for row in table.rows if row.z > 0], [row for row in table.rows if row.z < 0]]
        if outliers
        else [list(table.rows)]
    )
    of_pixels = results.headline == OF_PIXELS
    counted = ("labelled pixels",) if of_pixels else ()
    last = "robust z" if outliers else "images"
    return PaperTable(
        label=f"{results.name} {breakdown.by} {table.attack} {table.group}",
        caption=f"{table.attack}, {table.words} ({count}): {breakdown.measure} in %, drop in "
        f"points. {table.about}".strip(),
        head=(breakdown.by, "clean", "attacked", "drop", *counted, last),
        sections=tuple(
            tuple(PaperRow(row.part, _cells(row, outliers, of_pixels)) for row in part)
            for part in parts
            if part
        ),
    )


def _cells(row: PartRow, outlier: bool, of_pixels: bool) -> tuple[PaperCell, ...]:
    """Return the estimates, labelled pixels if any, and robust z or number of images."""
    counted = (PaperCell(f"{row.pixels:,}"),) if of_pixels else ()
    last = signed_number(row.z) if outlier else f"{row.images:,}"
    return (
        _cell(row.clean, coloured=True),
        _cell(row.attacked, coloured=True),
        _cell(row.drop, coloured=False),
        *counted,
        PaperCell(last),
    )


def _cell(interval: Interval, *, coloured: bool) -> PaperCell:
    value = interval.value
    if math.isnan(value):
        return PaperCell(MISSING)
    text = f"{round(value, 1) + 0.0:.1f}".replace("-", "−")
    return PaperCell(text, width_of(interval, 1), value=value if coloured else math.nan)


def _markdown(drawn: DrawnBreakdown) -> str:
    """Return a breakdown as a section of Markdown."""
    notes = "\n".join(f"- {markdown_text(note)}" for note in drawn.notes)
    title = f"## {markdown_text(drawn.title)}\n"
    return "\n".join([title, *map(markdown, drawn.tables), notes]) + "\n"


def _json(results: Results, breakdowns: Sequence[Breakdown]) -> str:
    """Return breakdowns as JSON: the rows of ``Breakdown.frame``, with null for NaN."""
    content = {
        "experiment": {"name": results.name, "identity": results.identity},
        "breakdowns": [
            {
                "by": one.by,
                "measure": one.measure,
                "rows": json.loads(one.frame().to_json(orient="records", double_precision=10)),
                "notes": one.notes,
            }
            for one in breakdowns
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
