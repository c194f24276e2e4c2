"""Views of results, which the terminal, Markdown, figures, MLflow and the page draw.

A view holds each number and each phrase of a surface, so that surfaces differ in their form alone.
"""

import math
from dataclasses import dataclass

import pandas as pd

from segtransfer.results.results import PAIR_GROUPS, Results
from segtransfer.results.text import (
    HEADLINES,
    NO_PAIR,
    attack_in_words,
    cell,
    row_name,
    rows,
    with_coverage,
)
from segtransfer.tasks.metrics import METRICS

OVER_TARGETS = "mean over targets"  # of an attack without a source


@dataclass(frozen=True)
class MatrixCell:
    """A cell of a transfer matrix.

    Attributes:
        target: The target's name.
        value: The metric under attack in percent; NaN if not measured.
        drop: The clean mIoU minus the mIoU under attack, in points; NaN for another metric.
        white_box: Whether the attack had the target's own gradients.
    """

    target: str
    value: float
    drop: float
    white_box: bool

    @property
    def text(self) -> str:
        """Return the value; the mIoU with its change from clean in brackets."""
        return cell(self.value, self.drop)


@dataclass(frozen=True)
class MatrixRow:
    """A row of a transfer matrix.

    Attributes:
        name: The label: the source, or "any source" if the attack uses none.
        source: The source; the first of the experiment if the attack uses none.
        cells: The cells, a cell per target.
    """

    name: str
    source: str
    cells: tuple[MatrixCell, ...]


@dataclass(frozen=True)
class HeadlineMean:
    """A headline mean of a transfer matrix.

    Attributes:
        label: The label.
        group: The pair group; None for the mean over the targets of an attack without a source.
        has_pairs: Whether the experiment has a pair of the group.
        value: The mean of the metric under attack in percent; NaN if not measured.
        drop: The mean drop in points; NaN for a metric other than mIoU.
    """

    label: str
    group: str | None
    has_pairs: bool
    value: float
    drop: float

    @property
    def text(self) -> str:
        """Return a phrase with the label and the mean; a group without pairs says so."""
        return f"{self.label} {cell(self.value, self.drop) if self.has_pairs else NO_PAIR}"


@dataclass(frozen=True)
class TransferMatrix:
    """The transfer matrix of an attack, with the words around it.

    Attributes:
        attack: The name of the attack's variant.
        metric: The name of the metric.
        words: The attack in words.
        complete: The number of cells with a result.
        places: The number of all cells.
        targets: The names of the columns.
        clean: The metric on clean images per target, in percent; empty for a metric that is
            relative to the clean images.
        rows: The rows; a single row if the attack uses no source.
        headlines: The headline means.
    """

    attack: str
    metric: str
    words: str
    complete: int
    places: int
    targets: tuple[str, ...]
    clean: tuple[float, ...]
    rows: tuple[MatrixRow, ...]
    headlines: tuple[HeadlineMean, ...]

    @property
    def partial(self) -> bool:
        """Return whether cells are missing."""
        return self.complete < self.places

    @property
    def settings(self) -> str:
        """Return the attack in words, and the coverage of an incomplete matrix."""
        return with_coverage(self.words, self.complete, self.places)


@dataclass(frozen=True)
class AttackSummary:
    """An attack's variant in a line: perturbation and cost over all sources and images.

    Attributes:
        attack: The name of the attack's variant.
        words: The attack in words.
        sourced: Whether the attack uses a source.
        final: Whether the variant is the attack's last step, not an earlier iterate.
        partial: Whether cells of the matrix are missing.
        stored: Whether an attack task is stored; perturbation and cost are unknown without it.
        linf: The maximum of the perturbation, in 8-bit levels.
        rms: The root mean square of the perturbation, in 8-bit levels.
        mean_abs: The mean absolute perturbation over eps.
        at_bound: The share of values at the eps bound, in percent.
        psnr: The peak signal-to-noise ratio against the clean image, in dB.
        forward_equivalents: The cost per image up to this iterate.
        forwards: The image forwards of the whole run.
        backwards: The image backwards of the whole run.
        seconds: The seconds inside models, of the whole run.
    """

    attack: str
    words: str
    sourced: bool
    final: bool
    partial: bool
    stored: bool
    linf: float
    rms: float
    mean_abs: float
    at_bound: float
    psnr: float
    forward_equivalents: float
    forwards: float
    backwards: float
    seconds: float


def transfer_matrix(results: Results, attack: str, metric: str = "miou") -> TransferMatrix:
    """Return the view of an attack's matrix.

    Args:
        results: The results.
        attack: The name of an attack's variant.
        metric: A metric of ``Results.matrix``.
    """
    values = results.matrix(attack, metric)
    drops = results.matrix(attack, "drop") if metric == "miou" else values * math.nan
    sourced = results.needs_source(attack)

    def cells(source: str) -> tuple[MatrixCell, ...]:
        return tuple(
            MatrixCell(
                target,
                float(values.loc[source, target]),
                float(drops.loc[source, target]),
                sourced and results.group(source, target) == "diagonal",
            )
            for target in results.targets
        )

    complete, places = results.coverage(attack)
    absolute = METRICS.find(metric).of_margins is not None
    return TransferMatrix(
        attack=attack,
        metric=metric,
        words=attack_in_words(results, attack),
        complete=complete,
        places=places,
        targets=tuple(results.targets),
        clean=tuple(float(value) for value in results.clean(metric)) if absolute else (),
        rows=tuple(
            MatrixRow(row_name(results, attack, source), source, cells(source))
            for source in rows(results, attack)
        ),
        headlines=_headlines(results, attack, metric),
    )


def _headlines(results: Results, attack: str, metric: str) -> tuple[HeadlineMean, ...]:
    """Return the mean per pair group, or the mean over targets of an attack without a source."""
    has_drop = metric == "miou"
    if not results.needs_source(attack):
        drop = mean_over_targets(results, attack, "drop") if has_drop else math.nan
        mean = mean_over_targets(results, attack, metric)
        return (HeadlineMean(OVER_TARGETS, None, True, mean, drop),)
    means, groups = results.headlines(attack, metric), pair_groups(results)
    drops = results.headlines(attack, "drop") if has_drop else dict.fromkeys(means, math.nan)
    return tuple(
        HeadlineMean(HEADLINES[group], group, group in groups, means[group], drops[group])
        for group in PAIR_GROUPS
    )


def mean_over_targets(results: Results, attack: str, metric: str = "miou") -> float:
    """Return the mean of the first row of a matrix, NaN with a missing cell."""
    return float(results.matrix(attack, metric).iloc[0].mean(skipna=False))


def attack_summary(results: Results, attack: str) -> AttackSummary:
    """Return the view of an attack's perturbation and cost.

    Args:
        results: The results.
        attack: The name of an attack's variant.
    """
    statistics, cost = results.perturbation(attack), results.cost(attack)
    numbers = pd.concat([statistics, cost])
    numbers["at_bound"] = 100 * numbers.get("at_bound", math.nan)
    complete, places = results.coverage(attack)
    names = ("linf", "rms", "mean_abs", "at_bound", "psnr", "forward_equivalents", "forwards",
             "backwards", "seconds")  # fmt: skip
    return AttackSummary(
        attack=attack,
        words=attack_in_words(results, attack),
        sourced=results.needs_source(attack),
        final=is_final(results, attack),
        partial=complete < places,
        stored=not statistics.empty,
        **{name: float(numbers.get(name, math.nan)) for name in names},
    )


def main_attacks(results: Results) -> list[str]:
    """Return an iterate per attack of the spec: the last raw iterate, or else the last score."""
    main: dict[str, str] = {}
    for name, made in results.variants.items():
        attack = made.attack
        if attack not in main or made.score == "raw":
            main[attack] = name
    return list(main.values())


def is_final(results: Results, attack: str) -> bool:
    """Return whether an iterate is the last step of its attack, under any score."""
    made = results.variants[attack]
    steps = [other.step for other in results.variants.values() if other.attack == made.attack]
    return made.step == max(steps)


def baseline_of(results: Results) -> str | None:
    """Return the attack that others are compared with: the first with a source, or None."""
    return next((a for a in main_attacks(results) if results.needs_source(a)), None)


def pair_groups(results: Results) -> set[str]:
    """Return the pair groups that have a pair of source and target."""
    return {results.group(s, t) for s in results.sources for t in results.targets}


def transfer_group(results: Results) -> str:
    """Return the headline group that stands for transfer: other backbones, if there are any."""
    groups = pair_groups(results)
    return next(g for g in ("cross_backbone", "same_backbone", "diagonal") if g in groups)


def best_attack(results: Results) -> str | None:
    """Return the attack with the largest mean drop on pairs of the transfer group, or None."""
    group = transfer_group(results)
    drops = {
        attack: drop
        for attack in main_attacks(results)
        if results.needs_source(attack)
        and math.isfinite(drop := results.headlines(attack, "drop")[group])
    }
    return max(drops, key=drops.__getitem__, default=None)
