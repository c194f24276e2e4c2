"""Report of a comparison: terminal tables, Markdown, and the folder of its files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from segtransfer.comparison import Comparison
from segtransfer.reporting.columns import COLUMN_WIDTH, FRAME, column_blocks
from segtransfer.reporting.comparison_layout import (
    Grid,
    attack_lines,
    cell_lines,
    lay_out,
    mean_phrases,
    meaning,
    pair_title,
    title,
)
from segtransfer.reporting.difference_figures import draw_differences
from segtransfer.reporting.entries import comparison_entry, write_entry
from segtransfer.reporting.folder import REPORT_DPI
from segtransfer.reporting.places import reports_root
from segtransfer.tasks.data.names import file_name


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print a table, means and verdict per pair of attacks, then the notes.

    Args:
        comparison: The comparison.
        console: The terminal; tables wider than it are printed in parts.
    """
    run = comparison.b
    console.print(f"\n[bold]{escape(title(comparison))}[/bold]", highlight=False)
    console.print(
        f"{meaning(comparison)}; * beyond noise. {len(run.image_ids)} images of "
        f"{escape(run.manifest.dataset)}.",
        highlight=False,
    )
    for pair in comparison.attacks:
        console.print()
        if len(comparison.attacks) > 1:
            console.print(Text(pair_title(pair), style="bold"))
        for line in attack_lines(comparison, pair):
            console.print(f"  {escape(line)}", highlight=False)
        for table in _tables(comparison, lay_out(comparison, pair[1]), console.width):
            console.print(table)
        means = "  ·  ".join(mean_phrases(comparison, pair[1]))
        console.print(f"  Means: {escape(means)}", highlight=False)
        console.print(Text(comparison.verdict(pair[1]), style="bold"))
    for note in comparison.notes:
        console.print(f"  {escape(note)}", style="dim", highlight=False)


def comparison_facts(comparison: Comparison) -> dict[str, Any]:
    """Return both runs, the pairs of attacks with their verdicts, and every row of the frame.

    Returns:
        A mapping for JSON: ``a`` and ``b`` (name, identity and store of a run),
        ``metric``, ``unit``, ``images``, ``attacks`` (pairs with their verdicts), ``rows`` of the
        frame, and ``notes``.
    """
    runs = {
        side: {"name": run.name, "identity": run.identity, "store": run.store.location}
        for side, run in (("a", comparison.a), ("b", comparison.b))
    }
    return {
        **runs,
        "metric": comparison.metric,
        "unit": "percentage points, B minus A",
        "images": comparison.b.image_ids,
        "attacks": [
            {"a": a, "b": b, "verdict": comparison.verdict(b)} for a, b in comparison.attacks
        ],
        "rows": comparison.frame.to_dict("records"),
        "notes": comparison.notes,
    }


def _tables(comparison: Comparison, grid: Grid, width: int) -> Iterator[Table]:
    """Yield the grid as tables within the terminal's width, columns in order."""
    least = max(
        len(part) for line in grid.lines for part in (*line.split("\n"), "source \\ target")
    )
    for columns in column_blocks(least, [COLUMN_WIDTH - FRAME] * len(grid.columns), width):
        table = Table()
        table.add_column("source \\ target", no_wrap=True)
        for column in columns:
            table.add_column(grid.columns[column], justify="right")
        for number, line in enumerate(grid.lines):
            if not any((number, column) in grid.values for column in columns):
                continue
            if grid.mean_lines and number == len(grid.lines) - grid.mean_lines:
                table.add_section()
            cells = [_terminal_cell(comparison, grid.values.get((number, c))) for c in columns]
            table.add_row(line, *cells)
        yield table


def _terminal_cell(comparison: Comparison, row: pd.Series | None) -> Text:
    if row is None:
        return Text("")
    style = "dim" if row["group"] == "diagonal" else ""
    if row["beyond_noise"]:
        style = "bold green" if _fools_more(comparison, row) else "bold magenta"
    return Text("\n".join(cell_lines(row)), style=style)


def _fools_more(comparison: Comparison, row: pd.Series) -> bool:
    return (row["difference"] < 0) == comparison.negative_fools_more


def markdown(comparison: Comparison, attack: str | None = None) -> str:
    """Return tables, verdicts and notes as Markdown.

    Args:
        comparison: The comparison.
        attack: B's attack of a single pair, whose verdict then comes first, because MLflow shows
            the first lines of a long note only. None for all pairs.
    """
    head = _markdown_head(comparison)
    if attack is not None:
        pair = next(pair for pair in comparison.attacks if pair[1] == attack)
        lines = [*_markdown_pair(comparison, pair), "", head[-1]]
    else:
        lines = head
        for pair in comparison.attacks:
            lines += ["", f"### {pair_title(pair)}", "", *_markdown_pair(comparison, pair)]
    return "\n".join([*lines, "", *(f"- {note}" for note in comparison.notes)]) + "\n"


def overview(comparison: Comparison) -> str:
    """Return the verdicts of all pairs of attacks and the notes as Markdown.

    Returns:
        Markdown without the differences of single cells.
    """
    lines = [*_markdown_head(comparison), ""]
    lines += [f"- {comparison.verdict(attack)}" for _, attack in comparison.attacks]
    return "\n".join([*lines, "", *(f"- {note}" for note in comparison.notes)]) + "\n"


def _markdown_head(comparison: Comparison) -> list[str]:
    run = comparison.b
    about = f"{len(run.image_ids)} images of {run.manifest.dataset}"
    return [
        f"**{title(comparison)}**",
        "",
        f"{meaning(comparison)}; bold: beyond noise. {about}.",
    ]


def _markdown_pair(comparison: Comparison, pair: tuple[str, str]) -> list[str]:
    """Return the verdict, both attacks, the means, and last the table, which may be long."""
    attack, grid = pair[1], lay_out(comparison, pair[1])
    names = [name.replace("\n", " ") for name in grid.columns]
    lines = [f"**{comparison.verdict(attack)}**", ""]
    lines += [f"- {line}" for line in attack_lines(comparison, pair)]
    lines += ["", "Means: " + "; ".join(mean_phrases(comparison, attack, _markdown_cell)) + ".", ""]
    lines.append("| source \\ target | " + " | ".join(names) + " |")
    lines.append("|---" + "|---:" * len(names) + "|")
    for number, line in enumerate(grid.lines):
        cells = [grid.values.get((number, column)) for column in range(len(names))]
        shown = " | ".join("" if cell is None else _markdown_cell(cell) for cell in cells)
        lines.append(f"| {line.replace(chr(10), ' ')} | {shown} |")
    return lines


def _markdown_cell(row: pd.Series) -> str:
    value, *interval = cell_lines(row, mark="")
    return " ".join([f"**{value}**" if row["beyond_noise"] else value, *interval])


def comparison_folder(comparison: Comparison) -> Path:
    """Return the folder of a comparison's report, next to B's reports.

    Returns:
        A folder, which may not exist: below the reports of B's store, or in the working folder if
        that store is remote or read-only. Its name holds both attacks, or both runs if several
        attacks are compared.
    """
    a, b = comparison.a.name, comparison.b.name
    if len(comparison.attacks) == 1:
        a, b = (name.replace(":", "=") for name in comparison.attacks[0])
    root = reports_root(comparison.b.store.location)
    return root / file_name(f"{b}-less-{a}-{comparison.identity[:12]}")


def write_comparison(comparison: Comparison) -> Path:
    """Write a comparison's report, and replace an older report.

    Files: differences.png (all pairs of attacks), difference-<attack of B>.png (``=`` for ``:``),
    differences.csv (a row per cell, row, column and mean), summary.md.

    Returns:
        The folder.
    """
    folder = comparison_folder(comparison)
    folder.mkdir(parents=True, exist_ok=True)
    draw_differences(comparison).savefig(folder / "differences.png", dpi=REPORT_DPI)
    for _, attack in comparison.attacks:
        figure = draw_differences(comparison, attack)
        figure.savefig(folder / difference_name(attack), dpi=REPORT_DPI)
    frame = comparison.frame
    frame.to_csv(folder / "differences.csv", index=False, float_format="%.6g")
    (folder / "summary.md").write_text(markdown(comparison), encoding="utf-8")
    pairs = list(map(pair_title, comparison.attacks))
    write_entry(comparison_entry(comparison, title(comparison), pairs), folder)
    return folder


def difference_name(attack: str) -> str:
    """Return the file name of the figure of a pair of attacks.

    Args:
        attack: B's attack; a colon in it becomes ``=``.
    """
    return file_name(f"difference-{attack.replace(':', '=')}.png")
