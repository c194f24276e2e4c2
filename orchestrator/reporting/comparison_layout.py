"""Layout and phrases of a comparison, equal in the terminal, Markdown and figures."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from segtransfer.comparison import Comparison
from segtransfer.results import Results
from segtransfer.results.text import ANY_SOURCE, HEADLINES, settings, signed_number

MEAN_LABELS = {
    group: "mean, " + HEADLINES[group].replace(" ", "\n")
    for group in ("same_network", "same_backbone", "cross_backbone")
}


@dataclass(frozen=True)
class Grid:
    """Layout of a pair of attacks: cells, with means below and to the right.

    Attributes:
        lines: Labels of the lines.
        columns: Labels of the columns.
        values: Rows of the comparison's frame, by line and column.
        mean_lines: Number of lines of means, at the end.
        mean_columns: Number of columns of means, at the end.
    """

    lines: list[str]
    columns: list[str]
    values: dict[tuple[int, int], pd.Series]
    mean_lines: int
    mean_columns: int


def lay_out(comparison: Comparison, attack: str) -> Grid:
    """Return the grid of a pair of attacks, identified by B's attack.

    Args:
        comparison: The comparison.
        attack: B's attack of the pair.

    Returns:
        Sources by targets; then the means per target as lines, and the means per source as columns,
        a mean per headline group of more than one cell.
    """
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
        return f"{b}: attack B minus attack A"
    return f"B ({b}) minus A ({a})"


def run_label(results: Results) -> str:
    """Return a reference to a run: its name and the first characters of its identity.

    Returns:
        ``<name>-<8 digits>``, which commands accept as a run.
    """
    return f"{results.name}-{results.identity[:8]}"


def pair_title(pair: tuple[str, str]) -> str:
    """Return the title of a pair of attacks, A's and B's.

    Args:
        pair: A's attack and B's attack.
    """
    a, b = pair
    return a if a == b else f"{b} minus {a}"


def attack_lines(comparison: Comparison, pair: tuple[str, str]) -> list[str]:
    """Return a line for A and a line for B, with attack and settings.

    Args:
        comparison: The comparison.
        pair: A's attack and B's attack.

    Returns:
        Two lines, ``A: ...`` and ``B: ...``.
    """
    sides = zip("AB", (comparison.a, comparison.b), pair, strict=True)
    return [f"{side}: {attack}, {settings(run, attack)}" for side, run, attack in sides]


def mean_phrases(
    comparison: Comparison, attack: str, show: Callable[[pd.Series], str] | None = None
) -> list[str]:
    """Return a phrase per headline mean; ``show`` formats a row's difference.

    Args:
        comparison: The comparison.
        attack: B's attack of the pair.
        show: Formats a row's difference. Default: the difference and its interval.

    Returns:
        A phrase per headline group with a pair.
    """
    show = show or (lambda row: " ".join(cell_lines(row)))
    means = comparison.rows(attack, "mean")
    return [
        f"{HEADLINES.get(row['group'], 'all targets')} {show(row)}" for _, row in means.iterrows()
    ]


def meaning(comparison: Comparison) -> str:
    """Return a phrase with metric, unit, and the meaning of the sign."""
    sign = "below" if comparison.negative_fools_more else "above"
    return (
        f"{comparison.metric_name} of B minus that of A, percentage points: {sign} 0 B is the "
        "stronger attack"
    )


def cell_lines(row: pd.Series, mark: str = "*") -> list[str]:
    """Return the lines of a cell: the difference, and its interval if known.

    Args:
        row: A row of the comparison's frame.
        mark: The sign behind a difference beyond noise.
    """
    if math.isnan(row["difference"]):
        return [signed_number(row["difference"])]
    value = signed_number(row["difference"], 2) + (mark if row["beyond_noise"] else "")
    if math.isnan(row["low"]):
        return [value]
    return [value, f"[{signed_number(row['low'], 2)}, {signed_number(row['high'], 2)}]"]
