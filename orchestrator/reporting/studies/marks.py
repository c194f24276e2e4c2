"""Marks of all studies' figures: colours per attack, lines per score, intervals as bars."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segtransfer.statistics import Interval

ATTACK_COLOURS = {
    "noise": "tab:grey",
    "pgd": "tab:blue",
    "rdi-mi": "tab:purple",
    "ds": "tab:orange",
    "ds-mi": "tab:red",
}
LINE_STYLES = {"raw": "-", "equal-rms": "--"}
SCORE_OPACITY = {"raw": 1.0, "equal-rms": 0.45}


def headed(heading: str, size: tuple[float, float]) -> Figure:
    """Return an empty figure of a size in inches below its heading.

    Args:
        heading: The heading, of one line or more.
        size: Width and height of the figure.
    """
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(heading, fontsize=10, parse_math=False)
    return figure


def curve(axes: Axes, x: Sequence[float], values: Sequence[Interval], **style: Any) -> None:
    """Draw a line with intervals.

    Args:
        axes: The axes.
        x: The places of the values.
        values: The values with their 95 % intervals.
        **style: Options of ``Axes.errorbar``.
    """
    errors = [[v.value - v.low for v in values], [v.high - v.value for v in values]]
    axes.errorbar(
        x, [v.value for v in values], yerr=errors, marker="o", markersize=3, linewidth=1.3,
        elinewidth=0.8, capsize=1.5, **style,
    )  # fmt: skip


def bars(axes: Axes, x: Sequence[float], values: Sequence[Interval], **style: Any) -> None:
    """Draw vertical bars with intervals.

    Args:
        axes: The axes.
        x: The middles of the bars.
        values: The values with their 95 % intervals.
        **style: Options of ``Axes.bar``.
    """
    errors = [[v.value - v.low for v in values], [v.high - v.value for v in values]]
    axes.bar(x, [v.value for v in values], yerr=errors, capsize=2, error_kw={"lw": 1}, **style)


def points(axes: Axes, y: Sequence[float], values: Sequence[Interval], **style: Any) -> None:
    """Draw values on a horizontal scale, with intervals, at heights ``y``.

    Args:
        axes: The axes.
        y: The heights.
        values: The values with their 95 % intervals.
        **style: Options of ``Axes.errorbar``.
    """
    errors = [[v.value - v.low for v in values], [v.high - v.value for v in values]]
    axes.errorbar(
        [v.value for v in values], y, xerr=errors, linestyle="none", marker="o", markersize=4,
        elinewidth=1.2, capsize=2, **style,
    )  # fmt: skip


def zero(axes: Axes, *, upright: bool) -> None:
    """Draw the line of zero difference, vertical if ``upright``."""
    mark = axes.axvline if upright else axes.axhline
    mark(0, color="black", linewidth=0.8, zorder=0)


def tidy(axes: Axes, title: str = "") -> None:
    """Set title, grid and tick labels of axes."""
    axes.set_title(title, fontsize=9, loc="left")
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
