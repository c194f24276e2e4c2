"""The figure of studies that compare an attack with others at equal cost."""

from matplotlib.figure import Figure

from segtransfer.reporting.studies.marks import (
    ATTACK_COLOURS,
    SCORE_OPACITY,
    headed,
    points,
    tidy,
    zero,
)
from segtransfer.results.text import HEADLINES
from segtransfer.studies.base import SCORES
from segtransfer.studies.equal_cost import EqualCost


def draw_equal_cost(numbers: EqualCost, heading: str) -> Figure:
    """Draw the drop of every attack, and the judged attack's drop minus the drop of every other.

    Args:
        numbers: The numbers of the study; the label of an attack has the RMS of its perturbation in
            levels.
        heading: The heading of the figure.
    """
    others = sorted(numbers.all_others, key=lambda other: -other.drop["raw"].value)
    names = [f"{o.name} ({o.rms:.1f})" for o in others]
    figure = headed(heading, (8.4, 0.32 * len(others) + 1.9))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    shown = [(f"{numbers.attack} ({numbers.rms:.1f})", numbers.drop)]
    shown += [(name, other.drop) for name, other in zip(names, others, strict=True)]
    shown.sort(key=lambda entry: -entry[1]["raw"].value)
    panels = (
        (left, [name for name, _ in shown], [drop for _, drop in shown]),
        (right, names, [other.behind for other in others]),
    )
    for axes, labels, values in panels:
        for offset, score in zip((0.14, -0.14), SCORES, strict=True):
            y = [len(labels) - 1 - i + offset for i in range(len(labels))]
            points(axes, y, [scored[score] for scored in values], color=ATTACK_COLOURS["ds"],
                   alpha=SCORE_OPACITY[score], label=score)  # fmt: skip
        axes.set_yticks(range(len(labels) - 1, -1, -1), labels)
    zero(right, upright=True)
    tidy(left, f"drop, {HEADLINES[numbers.group]}")
    tidy(right, f"{numbers.attack} less each other attack")
    for axes in (left, right):
        axes.set_xlabel("points of mIoU", fontsize=8)
    left.set_ylabel("attack (RMS of its perturbation in levels)", fontsize=8)
    right.legend(fontsize=7, frameon=False)
    return figure
