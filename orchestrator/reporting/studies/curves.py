"""Figures of studies over a number: mIoU over steps, drop over eps."""

from matplotlib.figure import Figure

from segtransfer.reporting.studies.marks import COLOURS, GROUPS, STYLES, curve, tidy, zero
from segtransfer.results import PAIR_GROUPS as ORDER
from segtransfer.studies import eps, overfitting
from segtransfer.studies.study import COMPARED_ATTACKS


def draw_overfitting(numbers: overfitting.Overfitting) -> Figure:
    """mIoU over steps, a panel a group of targets."""
    groups = [g for g in ORDER if any(c.group == g for c in numbers.curves)]
    figure = Figure(figsize=(3.3 * len(groups) + 0.6, 3.7), layout="constrained")
    row = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, group in zip(row, groups, strict=True):
        for found in (c for c in numbers.curves if c.group == group):
            label = f"{COMPARED_ATTACKS[found.attack]}, {found.score}"
            curve(axes, numbers.steps, found.values, color=COLOURS[found.attack],
                  linestyle=STYLES[found.score], label=label)  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(numbers.steps, [_tick(step) for step in numbers.steps])
        axes.minorticks_off()
        axes.set_xlabel("steps", fontsize=8)
        tidy(axes, GROUPS[group])
    row[0].set_ylabel("mIoU under attack, %", fontsize=8)
    row[-1].legend(fontsize=7, frameon=False)
    return figure


def _tick(step: int) -> str:
    """Those between 40 and 100 would stand on each other."""
    return "" if step in (60, 80) else str(step)


def draw_sweep(numbers: eps.Sweep) -> Figure:
    """Drop over eps by group of targets, and what dynamic scaling gains where it is judged."""
    groups = [g for g in ORDER if any(line.group == g for line in numbers.lines)]
    figure = Figure(figsize=(3.0 * (len(groups) + 1) + 0.6, 3.7), layout="constrained")
    row = figure.subplots(1, len(groups) + 1, squeeze=False)[0]
    for axes, group in zip(row[:-1], groups, strict=True):
        for line in (found for found in numbers.lines if found.group == group):
            label = eps.SWEPT_ATTACKS[line.attack] if line.score == "raw" else None
            curve(axes, numbers.levels, line.drops, color=COLOURS[line.attack],
                  linestyle=STYLES[line.score], label=label)  # fmt: skip
        tidy(axes, f"drop: {GROUPS[group]}")
    row[0].set_ylabel("points of mIoU", fontsize=8)
    row[0].legend(fontsize=7, frameon=False)
    for attack, baseline in eps.BASELINES.items():
        for found in eps.judged(numbers, attack):
            label = f"{eps.SWEPT_ATTACKS[attack]} over {eps.SWEPT_ATTACKS[baseline]}, {found.score}"
            curve(row[-1], numbers.levels, found.values, color=COLOURS[attack],
                  linestyle=STYLES[found.score], label=label)  # fmt: skip
    zero(row[-1], upright=False)
    tidy(row[-1], f"gain: {GROUPS[numbers.group]}")
    row[-1].legend(fontsize=7, frameon=False)
    for axes in row:
        axes.set_xscale("log", base=2)
        axes.set_xticks(numbers.levels, [f"{level}/255" for level in numbers.levels])
        axes.set_xlabel("eps", fontsize=8)
    return figure
