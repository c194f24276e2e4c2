"""Report of a comparison: terminal tables, diverging heat maps, Markdown, and their folder."""

import math
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from segtransfer.comparison import Comparison
from segtransfer.reporting.columns import COLUMN_WIDTH, FRAME, column_blocks
from segtransfer.reporting.entries import comparison_entry, write_entry
from segtransfer.reporting.folder import REPORT_DPI, reports_root
from segtransfer.reporting.heatmaps import (
    FIGURES_ACROSS,
    LONGEST_TICK_LABEL,
)
from segtransfer.results import Results
from segtransfer.results.text import ANY_SOURCE, HEADLINES, settings
from segtransfer.tasks.data.names import file_name

DIVERGING_COLOURMAP = mpl.colormaps["PRGn"]  # green: B fools more, in all figures and tables
DIFFERENCE_RANGE = (-10.0, 10.0)  # of colours, in points; equal in all figures
MEAN_LABELS = {
    group: "mean, " + HEADLINES[group].replace(" ", "\n")
    for group in ("same_backbone", "cross_backbone")
}
MEANS_GAP = 0.25  # cells, between a figure's cells and means


@dataclass(frozen=True)
class Grid:
    """Layout of a pair of attacks: cells, with means below and to the right.

    Attributes:
        lines: Labels of the lines.
        columns: Labels of the columns.
        values: Rows of the comparison's frame, by line and column.
        mean_lines: Number of lines at the end that hold means.
        mean_columns: Number of columns at the end that hold means.
    """

    lines: list[str]
    columns: list[str]
    values: dict[tuple[int, int], pd.Series]
    mean_lines: int
    mean_columns: int


def lay_out(comparison: Comparison, attack: str) -> Grid:
    """Return the grid of a pair of attacks, identified by B's attack."""
    cells, rows, columns = (comparison.rows(attack, kind) for kind in ("cell", "row", "column"))
    sources, targets = list(cells["source"].unique()), list(cells["target"].unique())
    below, beside = (
        [g for g in MEAN_LABELS if (part["group"] == g).any()] for part in (columns, rows)
    )
    values = {}
    for _, row in cells.iterrows():
        values[sources.index(row["source"]), targets.index(row["target"])] = row
    for _, row in rows.iterrows():
        values[sources.index(row["source"]), len(targets) + beside.index(row["group"])] = row
    for _, row in columns.iterrows():
        values[len(sources) + below.index(row["group"]), targets.index(row["target"])] = row
    return Grid(
        lines=[
            *(source or ANY_SOURCE for source in sources),
            *(MEAN_LABELS[group] for group in below),
        ],
        columns=[*targets, *(MEAN_LABELS[group] for group in beside)],
        values=values,
        mean_lines=len(below),
        mean_columns=len(beside),
    )


def title(comparison: Comparison) -> str:
    """Return the names of both runs, in the order of the subtraction."""
    a, b = run_label(comparison.a), run_label(comparison.b)
    if comparison.a.identity == comparison.b.identity:
        return f"{b}: attack B less attack A"
    return f"B ({b}) less A ({a})"


def run_label(results: Results) -> str:
    """Return a reference to a run: its name and the first characters of its identity."""
    return f"{results.name}-{results.identity[:8]}"


def pair_title(pair: tuple[str, str]) -> str:
    """Return the title of a pair of attacks, A's and B's."""
    a, b = pair
    return a if a == b else f"{b} less {a}"


def attack_lines(comparison: Comparison, pair: tuple[str, str]) -> list[str]:
    """Return a line for A and a line for B, with attack and settings."""
    sides = zip("AB", (comparison.a, comparison.b), pair, strict=True)
    return [f"{side}: {attack}, {settings(run, attack)}" for side, run, attack in sides]


def mean_phrases(
    comparison: Comparison, attack: str, show: Callable[[pd.Series], str] | None = None
) -> list[str]:
    """Return a phrase per headline mean; ``show`` formats a row's difference."""
    show = show or (lambda row: " ".join(_texts(row)))
    means = comparison.rows(attack, "mean")
    return [
        f"{HEADLINES.get(row['group'], 'all targets')} {show(row)}" for _, row in means.iterrows()
    ]


def meaning(comparison: Comparison) -> str:
    """Return a phrase with metric, unit, and the meaning of the sign."""
    sign = "below" if comparison.negative_fools_more else "above"
    return f"{comparison.metric_name}, percentage points, B less A: {sign} 0 B fools more"


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print a table, means and verdict per pair of attacks, then the notes."""
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
    """Return both runs, the pairs of attacks with their verdicts, and every row of the frame."""
    runs = {
        side: {"name": run.name, "identity": run.identity, "store": run.store.location}
        for side, run in (("a", comparison.a), ("b", comparison.b))
    }
    return {
        **runs,
        "metric": comparison.metric,
        "unit": "percentage points, B less A",
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
    return Text("\n".join(_texts(row)), style=style)


def _fools_more(comparison: Comparison, row: pd.Series) -> bool:
    return (row["difference"] < 0) == comparison.negative_fools_more


def _texts(row: pd.Series, mark: str = "*") -> list[str]:
    """Return the difference, marked if beyond noise, and its interval if there is one."""
    if math.isnan(row["difference"]):
        return ["–"]
    value = f"{row['difference']:+.2f}" + (mark if row["beyond_noise"] else "")
    if math.isnan(row["low"]):
        return [value]
    return [value, f"[{row['low']:+.2f}, {row['high']:+.2f}]"]


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
    """Return the verdicts of all pairs of attacks and the notes as Markdown."""
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
    value, *interval = _texts(row, mark="")
    return " ".join([f"**{value}**" if row["beyond_noise"] else value, *interval])


def draw_differences(comparison: Comparison, attack: str | None = None) -> Figure:
    """Draw all pairs of attacks, or the pair of B's ``attack``, as diverging heat maps."""
    pairs = [pair for pair in comparison.attacks if attack in (None, pair[1])]
    grids = [lay_out(comparison, b) for _, b in pairs]
    across = min(FIGURES_ACROSS, len(pairs))
    down = math.ceil(len(pairs) / across)
    right = max(_positions(len(grid.columns), grid.mean_columns)[-1] for grid in grids) + 0.5
    bottom = max(_positions(len(grid.lines), grid.mean_lines)[-1] for grid in grids) + 0.5
    width, height = 3.0 + 1.15 * right, 2.4 + 0.62 * bottom
    figure = Figure(figsize=(width * across + 0.9, height * down + 0.5), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False)
    colours = (
        DIVERGING_COLOURMAP.reversed() if comparison.negative_fools_more else DIVERGING_COLOURMAP
    )
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(*DIFFERENCE_RANGE, clip=True), colours)
    for place, pair, grid in zip(axes.flat, pairs, grids, strict=False):
        _draw(place, comparison, pair, grid, scale)
        place.set_xlim(-0.5, right)  # equal cell sizes in all heat maps
        place.set_ylim(bottom, -0.5)
    for place in axes.flat[len(pairs) :]:
        place.set_axis_off()
    figure.colorbar(
        scale,
        ax=axes,
        shrink=0.8,
        aspect=30,
        extend="both",
        label=f"{comparison.metric_name}, points",
    )
    run = comparison.b
    figure.suptitle(
        f"{title(comparison)}, {len(run.image_ids)} images of {run.manifest.dataset}\n"
        f"{meaning(comparison)}",
        fontsize=11,
        parse_math=False,
    )
    return figure


def _draw(
    axes: Axes,
    comparison: Comparison,
    pair: tuple[str, str],
    grid: Grid,
    scale: mpl.cm.ScalarMappable,
) -> None:
    """Draw a pair's cells, a gap, and the means."""
    lines = _positions(len(grid.lines), grid.mean_lines)
    columns = _positions(len(grid.columns), grid.mean_columns)
    for (line, column), row in grid.values.items():
        _cell(axes, columns[column], lines[line], row, scale)
    longest = max(len(part) for name in grid.columns for part in name.split("\n"))
    slanted: dict[str, Any] = {"rotation": 20, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(columns, grid.columns, **(slanted if longest > LONGEST_TICK_LABEL else {}))
    axes.set_yticks(lines, grid.lines)
    axes.tick_params(length=0, labelsize=9)
    wide = 20 + 18 * len(grid.columns)
    about = [part for line in attack_lines(comparison, pair) for part in textwrap.wrap(line, wide)]
    axes.set_title(
        pair_title(pair), fontsize=11, fontweight="bold", loc="left", pad=6 + 10 * len(about)
    )
    axes.text(0, 1.02, "\n".join(about), transform=axes.transAxes, fontsize=7.5, parse_math=False)
    below = ["  ·  ".join(mean_phrases(comparison, pair[1])), comparison.verdict(pair[1])]
    text = "\n".join(textwrap.fill(line, wide) for line in below)
    axes.set_xlabel(text, fontsize=8, loc="left")
    for side in axes.spines.values():
        side.set_visible(False)


def _positions(count: int, means: int) -> list[float]:
    """Return the coordinates of lines or columns, with a gap before the means."""
    return [number + (MEANS_GAP if number >= count - means else 0) for number in range(count)]


def _cell(axes: Axes, x: float, y: float, row: pd.Series, scale: mpl.cm.ScalarMappable) -> None:
    missing = math.isnan(row["difference"])
    colour = (0.9, 0.9, 0.9, 1.0) if missing else scale.to_rgba(row["difference"])
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=colour, lw=0))
    if row["group"] == "diagonal":
        axes.add_patch(
            Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, fill=False, ec="#777777", lw=1.2)
        )
    ink = "black" if float(np.dot(colour[:3], (0.299, 0.587, 0.114))) > 0.5 else "white"
    value, *interval = (text.replace("-", "−") for text in _texts(row))
    weight = "bold" if row["beyond_noise"] else "normal"
    axes.text(
        x, y - (0.08 if interval else 0), value,
        ha="center", va="center", color=ink, fontsize=11, fontweight=weight,
    )  # fmt: skip
    axes.text(x, y + 0.27, "".join(interval), ha="center", va="center", color=ink, fontsize=6.5)


def comparison_folder(comparison: Comparison) -> Path:
    """Return the folder of a comparison's report, next to B's reports."""
    a, b = comparison.a.name, comparison.b.name
    if len(comparison.attacks) == 1:
        a, b = (name.replace(":", "=") for name in comparison.attacks[0])
    root = reports_root(comparison.b.store.location)
    return root / file_name(f"{b}-less-{a}-{comparison.identity[:12]}")


def write_comparison(comparison: Comparison) -> Path:
    """Write a comparison's report, replacing an older one.

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
    """Return the file name of the figure of a pair of attacks."""
    return file_name(f"difference-{attack.replace(':', '=')}.png")
