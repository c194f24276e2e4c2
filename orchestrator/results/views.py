"""Views of results, drawn by the terminal, Markdown, figures, MLflow and the page.

A view holds each number and each phrase of a surface, so surfaces differ in form alone.
"""

import math
from dataclasses import dataclass

import pandas as pd

from segtransfer.results.norms import summarise_norms
from segtransfer.results.pairs import PAIR_GROUPS
from segtransfer.results.results import Results
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
        value: The metric under attack in percent (``drop``: percentage points); NaN without a
            result.
        drop: Clean value minus value under attack, in percentage points; NaN for another metric
            than the headline metric.
        white_box: Whether the attack used the target's own gradients.
    """

    target: str
    value: float
    drop: float
    white_box: bool

    @property
    def text(self) -> str:
        """Return the value; for the headline metric with the change from clean in brackets."""
        return cell(self.value, self.drop)


@dataclass(frozen=True)
class MatrixRow:
    """A row of a transfer matrix.

    Attributes:
        name: The label: the source, or "any source" if the attack uses no model.
        source: The source; the experiment's first source if the attack uses no model.
        cells: A cell per target.
    """

    name: str
    source: str
    cells: tuple[MatrixCell, ...]


@dataclass(frozen=True)
class HeadlineMean:
    """A headline mean of a transfer matrix.

    Attributes:
        label: The label, for example "other backbone".
        group: The pair group; None for the mean over the targets of an attack without a model.
        has_pairs: Whether the experiment has a pair of the group.
        value: The mean of the metric under attack in percent; NaN if a cell has no result.
        drop: The mean drop in percentage points; NaN for another metric than the headline
            metric.
    """

    label: str
    group: str | None
    has_pairs: bool
    value: float
    drop: float

    @property
    def text(self) -> str:
        """Return the label with the mean, or with "no such pair" for a group without pairs."""
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
        clean: The metric on clean images per target, in percent; empty for a metric relative to the
            clean images.
        rows: A row per source; a single row if the attack uses no model.
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
        """Return whether a cell has no result."""
        return self.complete < self.places

    @property
    def settings(self) -> str:
        """Return the attack in words, with the coverage of an incomplete matrix."""
        return with_coverage(self.words, self.complete, self.places)


@dataclass(frozen=True)
class AttackSummary:
    """Perturbation and cost of an attack's variant, over all sources and images.

    Without a stored report, perturbation is NaN and cost is 0.

    Attributes:
        attack: The name of the attack's variant.
        words: The attack in words.
        sourced: Whether the attack uses a model.
        final: Whether the variant is of the attack's last step.
        partial: Whether a cell of the matrix has no result.
        stored: Whether an attack task is stored.
        linf: The maximum of the perturbation, in 8-bit levels.
        rms: The root mean square of the perturbation, in 8-bit levels.
        mean_abs: The mean absolute perturbation over eps.
        at_bound: The share of values at the eps bound, in percent.
        psnr: The peak signal-to-noise ratio against the clean image, in dB.
        ssim: The structural similarity with the clean image, of a sample of images.
        norm: The median norm at 99 % fooled pixels of an attack that seeks the smallest, in 8-bit
            levels; infinite if most images are not reached, NaN for another attack.
        reached: The share of images with 99 % fooled pixels, in percent; NaN for another attack.
        forward_equivalents: The mean cost per image up to the variant's step, in forwards at the
            image's own size.
        forwards: The forwards of the whole run, in images.
        backwards: The backwards of the whole run, in images.
        seconds: The seconds inside models of the whole run.
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
    ssim: float
    norm: float
    reached: float
    forward_equivalents: float
    forwards: float
    backwards: float
    seconds: float


def transfer_matrix(results: Results, attack: str, metric: str | None = None) -> TransferMatrix:
    """Return the view of an attack's matrix.

    Args:
        results: The results.
        attack: The name of an attack's variant.
        metric: A metric of ``Results.matrix``. Default: the headline metric.

    Returns:
        The view, with a row per source and a cell per target.

    Raises:
        KeyError: If the attack or the metric is unknown.
    """
    metric = metric or results.headline
    values = results.matrix(attack, metric)
    drops = results.matrix(attack, "drop") if metric == results.headline else values * math.nan
    sourced = results.needs_source(attack)

    def cells(source: str) -> tuple[MatrixCell, ...]:
        numbers = zip(
            results.targets, values.loc[source].tolist(), drops.loc[source].tolist(), strict=True
        )
        return tuple(
            MatrixCell(target, value, drop, sourced and results.group(source, target) == "diagonal")
            for target, value, drop in numbers
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
    has_drop = metric == results.headline
    if not results.needs_source(attack):
        drop = mean_over_targets(results, attack, "drop") if has_drop else math.nan
        mean = mean_over_targets(results, attack, metric)
        return (HeadlineMean(OVER_TARGETS, None, True, mean, drop),)
    means, groups = results.headlines(attack, metric), pair_groups(results)
    drops = results.headlines(attack, "drop") if has_drop else dict.fromkeys(means, math.nan)
    return tuple(
        HeadlineMean(HEADLINES[group], group, group in groups, means[group], drops[group])
        for group in shown_groups(results)
    )


def mean_over_targets(results: Results, attack: str, metric: str | None = None) -> float:
    """Return the mean of the first row of a matrix.

    Returns:
        The mean in the matrix's unit, NaN if a cell of the row has no result.

    Raises:
        KeyError: If the attack or the metric is unknown.
    """
    return float(results.matrix(attack, metric).iloc[0].mean(skipna=False))


def attack_summary(results: Results, attack: str) -> AttackSummary:
    """Return the view of an attack's perturbation and cost.

    Args:
        results: The results.
        attack: The name of an attack's variant.

    Raises:
        KeyError: If the attack is unknown.
    """
    statistics, cost = results.perturbation(attack), results.cost(attack)
    numbers = pd.concat([statistics, cost])
    numbers["at_bound"] = 100 * numbers.get("at_bound", math.nan)
    complete, places = results.coverage(attack)
    smallest = summarise_norms(results, attack)
    names = ("linf", "rms", "mean_abs", "at_bound", "psnr", "ssim", "forward_equivalents",
             "forwards", "backwards", "seconds")  # fmt: skip
    return AttackSummary(
        attack=attack,
        words=attack_in_words(results, attack),
        sourced=results.needs_source(attack),
        final=is_final(results, attack),
        partial=complete < places,
        stored=not statistics.empty,
        norm=smallest.median,
        reached=smallest.reached,
        **{name: float(numbers.get(name, math.nan)) for name in names},
    )


def main_attacks(results: Results) -> list[str]:
    """Return a variant per attack of the spec, in the order of the spec.

    Returns:
        The names: per attack the last raw variant, or else the last variant.
    """
    main: dict[str, str] = {}
    for name, made in results.variants.items():
        attack = made.attack
        if attack not in main or made.score == "raw":
            main[attack] = name
    return list(main.values())


def is_final(results: Results, attack: str) -> bool:
    """Return whether a variant is of the last step of its attack, under any score.

    Raises:
        KeyError: If no variant has this name.
    """
    made = results.variants[attack]
    steps = [other.step for other in results.variants.values() if other.attack == made.attack]
    return made.step == max(steps)


def baseline_of(results: Results) -> str | None:
    """Return the baseline of other attacks: the first main attack with a source, or None."""
    return next((a for a in main_attacks(results) if results.needs_source(a)), None)


def pair_groups(results: Results) -> set[str]:
    """Return the pair groups that have a pair of source and target."""
    return {results.group(s, t) for s in results.sources for t in results.targets}


def shown_groups(results: Results) -> tuple[str, ...]:
    """Return the pair groups with a place in every table of means.

    Returns:
        All groups but ``same_network``, which only experiments with defences have.
    """
    groups = pair_groups(results)
    return tuple(g for g in PAIR_GROUPS if g != "same_network" or g in groups)


def transfer_group(results: Results) -> str:
    """Return the pair group that represents transfer.

    Returns:
        The last group of ``PAIR_GROUPS`` that has a pair: ``cross_backbone`` if possible.
    """
    groups = pair_groups(results)
    return next(group for group in reversed(PAIR_GROUPS) if group in groups)


def best_attack(results: Results) -> str | None:
    """Return the main attack with the largest mean drop over the transfer group.

    Returns:
        The variant's name, or None if no attack with a source has all cells of the group.
    """
    group = transfer_group(results)
    drops = {
        attack: drop
        for attack in main_attacks(results)
        if results.needs_source(attack)
        and math.isfinite(drop := results.headlines(attack, "drop")[group])
    }
    return max(drops, key=drops.__getitem__, default=None)
