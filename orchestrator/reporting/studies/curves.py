"""Curves of studies: mIoU or accuracy over steps, drop over eps."""

from itertools import product

from matplotlib.figure import Figure

from segtransfer.reporting.studies.marks import (
    ATTACK_COLOURS,
    LINE_STYLES,
    curve,
    headed,
    tidy,
    zero,
)
from segtransfer.results import PAIR_GROUPS
from segtransfer.results.text import HEADLINES
from segtransfer.studies import eps, overfitting
from segtransfer.studies.base import SCORES
from segtransfer.studies.study import COMPARED_ATTACKS


def draw_overfitting(numbers: overfitting.Overfitting, heading: str) -> Figure:
    """Draw mIoU or accuracy over steps, a panel per headline group.

    Args:
        numbers: The numbers of the study.
        heading: The heading of the figure.
    """
    groups = [g for g in PAIR_GROUPS if any(c.group == g for c in numbers.curves)]
    figure = headed(heading, (3.3 * len(groups) + 0.6, 3.7))
    row = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, group in zip(row, groups, strict=True):
        for run in (c for c in numbers.curves if c.group == group):
            label = f"{COMPARED_ATTACKS[run.attack]}, {run.score}"
            curve(axes, numbers.steps, run.values, color=ATTACK_COLOURS[run.attack],
                  linestyle=LINE_STYLES[run.score], label=label)  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(numbers.steps, [_tick(step) for step in numbers.steps])
        axes.minorticks_off()
        axes.set_xlabel("steps", fontsize=8)
        tidy(axes, HEADLINES[group])
    row[0].set_ylabel(f"{numbers.facts.metric} under attack, %", fontsize=8)
    row[-1].legend(fontsize=7, frameon=False)
    return figure


def _tick(step: int) -> str:
    """Return a step's label, empty between 40 and 100 because labels would overlap."""
    return "" if step in (60, 80) else str(step)


def draw_sweep(numbers: eps.Sweep, heading: str) -> Figure:
    """Draw the drop over eps per headline group, and gains in the group of the verdict.

    Args:
        numbers: The numbers of the study; eps is on a logarithmic axis.
        heading: The heading of the figure.
    """
    groups = [g for g in PAIR_GROUPS if any(line.group == g for line in numbers.lines)]
    figure = headed(heading, (3.0 * (len(groups) + 1) + 0.6, 3.7))
    row = figure.subplots(1, len(groups) + 1, squeeze=False)[0]
    for axes, group in zip(row[:-1], groups, strict=True):
        for line in (sweep for sweep in numbers.lines if sweep.group == group):
            label = eps.SWEPT_ATTACKS[line.attack] if line.score == "raw" else None
            curve(axes, eps.LEVELS, line.drops, color=ATTACK_COLOURS[line.attack],
                  linestyle=LINE_STYLES[line.score], label=label)  # fmt: skip
        tidy(axes, f"drop: {HEADLINES[group]}")
    row[0].set_ylabel("points of mIoU", fontsize=8)
    row[0].legend(fontsize=7, frameon=False)
    for other, score in product((eps.RIVAL, eps.BASELINE), SCORES):
        label = f"{eps.SWEPT_ATTACKS[eps.OURS]} over {eps.SWEPT_ATTACKS[other]}, {score}"
        curve(row[-1], eps.LEVELS, [at.gains[other][score] for at in numbers.strengths],
              color=ATTACK_COLOURS[other], linestyle=LINE_STYLES[score], label=label)  # fmt: skip
    zero(row[-1], upright=False)
    tidy(row[-1], f"gain: {HEADLINES[numbers.group]}")
    row[-1].legend(fontsize=7, frameon=False)
    for axes in row:
        axes.set_xscale("log", base=2)
        axes.set_xticks(eps.LEVELS, [f"{level}/255" for level in eps.LEVELS])
        axes.set_xlabel("eps", fontsize=8)
    return figure
