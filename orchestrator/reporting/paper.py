"""Tables of a paper: the structure, and its LaTeX, Markdown and HTML."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from segtransfer.reporting.shading import WHOLE_RANGE, Shading

MISSING = "–"
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": "$-$",
    "–": r"\textendash{}",
    "±": r"$\pm$",
    "∞": r"$\infty$",
    # A row that begins with a bracket or a star would be an argument of the row above.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


@dataclass(frozen=True)
class PaperCell:
    """A cell of a table.

    Attributes:
        text: The number or the words.
        half: Half of the 95 % interval, empty if there is none.
        change: The change from clean, empty if there is none.
        bold: Whether a difference is beyond noise.
        white_box: Whether the attack had the target's own gradients.
        value: The percentage behind the colour of the cell in HTML; NaN for no colour.
    """

    text: str = ""
    half: str = ""
    change: str = ""
    bold: bool = False
    white_box: bool = False
    value: float = math.nan

    @property
    def note(self) -> str:
        """Return half of the interval and the change, as far as there are any."""
        half = f"± {self.half}" if self.half else ""
        return f"{half} ({self.change})".strip() if self.change else half


@dataclass(frozen=True)
class PaperRow:
    """A row of a table: its name and its cells."""

    name: str
    cells: tuple[PaperCell, ...]


@dataclass(frozen=True)
class PaperTable:
    """A table with a caption above and notes below.

    Attributes:
        label: The words of the reference in LaTeX, such as ``quickstart ds-mi``.
        caption: A sentence.
        head: The head of each column, the names' column first.
        sections: The rows, with a rule between sections.
        notes: Sentences on marks and means.
        shading: The colours of the cells in HTML.
        wide: The share of the line's width for the last column of words; 0 for numbers.
    """

    label: str
    caption: str
    head: tuple[str, ...]
    sections: tuple[tuple[PaperRow, ...], ...]
    notes: tuple[str, ...] = ()
    shading: Shading = WHOLE_RANGE
    wide: float = 0.0


def printed(tables: Sequence[PaperTable], form: str) -> str:
    """Return tables as text.

    Args:
        tables: The tables, in order.
        form: ``latex`` or ``markdown``.
    """
    write = {"latex": latex, "markdown": markdown}[form]
    return "\n\n".join(write(table).rstrip() for table in tables) + "\n"


def latex(table: PaperTable) -> str:
    """Return a table as LaTeX.

    Returns:
        An environment ``table``, whose document needs the package booktabs.
    """
    columns = "l" + "r" * (len(table.head) - 1)
    if table.wide:
        columns = "l" * (len(table.head) - 1) + f"p{{{table.wide:g}\\linewidth}}"
    rows = [_latex_line(map(latex_text, table.head))]
    for section in table.sections:
        rows.append(r"\midrule")
        rows += [line for row in section for line in _latex_row(row)]
    notes = [rf"\par\smallskip\footnotesize {latex_text(' '.join(table.notes))}"]
    label = re.sub(r"[^A-Za-z0-9]+", "-", table.label).strip("-").lower()
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex_text(table.caption)}}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            *(notes if table.notes else []),
            r"\end{table}",
        ]
    )


def latex_text(text: str) -> str:
    """Return text for LaTeX.

    Args:
        text: Any text; special characters are escaped, line breaks become spaces.
    """
    text = re.sub(r"(?<!\w)-(?=\d)", "−", " ".join(text.split()))  # a minus, no hyphen
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r"(?<=-)-", "{}-", escaped)  # two hyphens would print as a dash


def _latex_row(row: PaperRow) -> list[str]:
    """Return a line of numbers, and below it, if there are any, a line of intervals and changes."""
    cells = []
    for cell in row.cells:
        text = latex_text(cell.text)
        text = rf"\textbf{{{text}}}" if cell.bold else text
        cells.append(text + ("$^{*}$" if cell.white_box else ""))
    lines = [_latex_line([latex_text(row.name), *cells])]
    if any(cell.note for cell in row.cells):
        notes = [latex_text(cell.note) for cell in row.cells]
        small = [rf"{{\scriptsize {note}}}" if note else "" for note in notes]
        lines.append(_latex_line(["", *small]))
    return lines


def _latex_line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def markdown(table: PaperTable) -> str:
    """Return a table as Markdown, with its caption in bold above."""
    lines = [f"**{markdown_text(table.caption)}**", ""]
    lines.append("| " + " | ".join(map(markdown_text, table.head)) + " |")
    lines.append("|---" + ("|---" if table.wide else "|---:") * (len(table.head) - 1) + "|")
    for row in (row for section in table.sections for row in section):
        cells = [markdown_text(row.name), *map(_markdown_cell, row.cells)]
        lines.append("| " + " | ".join(cells) + " |")
    notes = ["", markdown_text(" ".join(table.notes))] if table.notes else []
    return "\n".join([*lines, *notes]) + "\n"


def markdown_text(text: str) -> str:
    """Return text for a cell of Markdown.

    Args:
        text: Any text; special characters are escaped, line breaks become spaces.
    """
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))


def _markdown_cell(cell: PaperCell) -> str:
    return _cell(cell, markdown_text, bold=lambda text: f"**{text}**", small=str, star=r"\*")


def html(table: PaperTable) -> Markup:
    """Return a table as HTML.

    Returns:
        Caption, table and notes; cells have the colours of the report.
    """
    head = Markup("").join(Markup("<th>{}</th>").format(name) for name in table.head)
    bodies = [
        Markup("<tbody>{}</tbody>").format(Markup("").join(_html_row(row, table) for row in part))
        for part in table.sections
    ]
    shown = Markup("<p>{}</p><table><thead><tr>{}</tr></thead>{}</table>")
    notes = [Markup("<p>{}</p>").format(note) for note in table.notes]
    return Markup("").join([shown.format(table.caption, head, Markup("").join(bodies)), *notes])


def _html_row(row: PaperRow, table: PaperTable) -> Markup:
    cells = Markup("").join(
        Markup("<td{}>{}</td>").format(_html_style(cell, table), _html_cell(cell))
        for cell in row.cells
    )
    return Markup("<tr><th>{}</th>{}</tr>").format(row.name, cells)


def _html_style(cell: PaperCell, table: PaperTable) -> Markup:
    left = "text-align:left;" if table.wide else ""
    if math.isnan(cell.value):
        return Markup(' style="{}"').format(left) if left else Markup("")
    shade, ink = table.shading.of(cell.value)
    return Markup(' style="{}background:{};color:{}"').format(left, shade, ink)


def _html_cell(cell: PaperCell) -> Markup:
    bold, small = Markup("<b>{}</b>").format, Markup("<small>{}</small>").format
    star = Markup("<sup>*</sup>")
    return Markup("{}").format(_cell(cell, escape, bold=bold, small=small, star=star))


def _cell(
    cell: PaperCell,
    plain: Callable[[str], str],
    *,
    bold: Callable[[str], str],
    small: Callable[[str], str],
    star: str,
) -> str:
    """Return a cell: the number, the star of a white box, ± half of the interval, the change."""
    text = plain(cell.text)
    text = (bold(text) if cell.bold else text) + (star if cell.white_box else "")
    return text + " " + small(plain(cell.note)) if cell.note else text
