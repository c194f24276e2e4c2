"""Figures of studies over kinds of pairs, roles, sizes and variants."""

from matplotlib.figure import Figure

from segtransfer.reporting.studies.marks import (
    ATTACK_COLOURS,
    SCORE_OPACITY,
    bars,
    headed,
    points,
    tidy,
    zero,
)
from segtransfer.results import PAIR_GROUPS
from segtransfer.results.text import HEADLINES
from segtransfer.studies import ablation, heads, object_size, twins
from segtransfer.studies.base import SCORES
from segtransfer.studies.study import COMPARED_ATTACKS

BAR_WIDTH = 0.19


def draw_heads(numbers: heads.Heads, heading: str) -> Figure:
    """Draw the mean drop per kind of pair of models.

    Args:
        numbers: The numbers of the study.
        heading: The heading of the figure.
    """
    figure = headed(heading, (7.6, 3.7))
    axes = figure.subplots()
    looks = [(attack, score) for attack in COMPARED_ATTACKS for score in SCORES]
    for number, (attack, score) in enumerate(looks):
        x = [i + (number - 1.5) * BAR_WIDTH for i in range(len(numbers.kinds))]
        bars(axes, x, [kind.drops[attack][score] for kind in numbers.kinds], width=BAR_WIDTH,
             color=ATTACK_COLOURS[attack], alpha=SCORE_OPACITY[score],
             label=f"{COMPARED_ATTACKS[attack]}, {score}")  # fmt: skip
    names = [f"{kind.name.replace(', ', chr(10))}\npairs: {kind.pairs}" for kind in numbers.kinds]
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("drop in mIoU, points", fontsize=8)
    tidy(axes)
    axes.legend(fontsize=7, frameon=False)
    return figure


def draw_twins(numbers: twins.Twinned, heading: str) -> Figure:
    """Draw the gain of dynamic scaling over PGD on both twins, a panel per kind and role.

    Args:
        numbers: The numbers of the study.
        heading: The heading of the figure.
    """
    panels = [(kind, role) for kind in numbers.kinds for role in kind.roles]
    figure = headed(heading, (3.5 * len(panels) + 0.4, 2.6))
    row = figure.subplots(1, len(panels), squeeze=False, sharex=True)[0]
    for axes, (kind, role) in zip(row, panels, strict=True):
        first, second = twins.TWINS[kind.name]
        lines = {first: role.first, second: role.second, "second less\nfirst": role.difference}
        for offset, score in zip((0.12, -0.12), SCORES, strict=True):
            y = [len(lines) - 1 - i + offset for i in range(len(lines))]
            values = [scored[score] for scored in lines.values()]
            points(axes, y, values, color=ATTACK_COLOURS["ds"], alpha=SCORE_OPACITY[score],
                   label=score)  # fmt: skip
        zero(axes, upright=True)
        axes.set_yticks(range(len(lines) - 1, -1, -1), list(lines))
        axes.set_ylim(-0.6, len(lines) - 0.4)
        axes.set_xlabel("gain of dynamic scaling over PGD, points", fontsize=8)
        tidy(axes, f"{kind.name}, as {role.role}")
    row[-1].legend(fontsize=7, frameon=False)
    return figure


def draw_sizes(numbers: object_size.Sizes, heading: str) -> Figure:
    """Draw the drop in recall per object size under raw AEs, a panel per headline group.

    Args:
        numbers: The numbers of the study.
        heading: The heading of the figure.
    """
    groups = [g for g in PAIR_GROUPS if any(bar.group == g for bar in numbers.bars)]
    figure = headed(heading, (3.0 * len(groups) + 0.6, 3.6))
    row = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    names = [
        f"{name}\n({area:.0f} px)"
        for name, area in zip(object_size.QUARTERS, numbers.areas, strict=True)
    ]
    for axes, group in zip(row, groups, strict=True):
        for number, attack in enumerate(COMPARED_ATTACKS):
            (drops,) = (
                bar.drops
                for bar in numbers.bars
                if (bar.attack, bar.group, bar.score) == (attack, group, "raw")
            )
            x = [i + (number - 0.5) * 2 * BAR_WIDTH for i in range(len(names))]
            bars(axes, x, drops, width=2 * BAR_WIDTH, color=ATTACK_COLOURS[attack],
                 label=COMPARED_ATTACKS[attack])  # fmt: skip
        axes.set_xticks(range(len(names)), names)
        tidy(axes, HEADLINES[group])
        axes.set_xlabel("quarter of the objects of a class (median area)", fontsize=8)
    row[0].set_ylabel("drop in recall, points", fontsize=8)
    row[0].legend(fontsize=7, frameon=False)
    return figure


def draw_ablation(numbers: ablation.Ablation, heading: str) -> Figure:
    """Draw the gain of every variant over default dynamic scaling and over PGD.

    Args:
        numbers: The numbers of the study; the label of a variant has the RMS of its perturbation in
            levels.
        heading: The heading of the figure.
    """
    figure = headed(heading, (8.4, 0.27 * len(numbers.variants) + 1.6))
    row = figure.subplots(1, 2, sharey=True)
    names = [f"{v.name} ({v.rms:.2f})" for v in numbers.variants]
    panels = (
        ("over default dynamic scaling", [v.over_ds for v in numbers.variants]),
        ("over PGD", [v.over_pgd for v in numbers.variants]),
    )
    for axes, (title, gains) in zip(row, panels, strict=True):
        for offset, score in zip((0.15, -0.15), SCORES, strict=True):
            y = [len(names) - 1 - i + offset for i in range(len(names))]
            points(axes, y, [scored[score] for scored in gains], color=ATTACK_COLOURS["ds"],
                   alpha=SCORE_OPACITY[score], label=score)  # fmt: skip
        zero(axes, upright=True)
        tidy(axes, f"{title}, {HEADLINES[numbers.group]}")
        axes.set_xlabel("points of mIoU more", fontsize=8)
    default = numbers.default["raw"]
    row[1].axvspan(default.low, default.high, color=ATTACK_COLOURS["pgd"], alpha=0.12, lw=0,
                   label="the default, raw")  # fmt: skip
    row[0].set_yticks(range(len(names) - 1, -1, -1), names)
    row[0].set_ylabel("variant (RMS of its perturbation in levels)", fontsize=8)
    figure.legend(*row[1].get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  fontsize=7, frameon=False)  # fmt: skip
    return figure
