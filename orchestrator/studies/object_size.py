"""Object size (A4): transfer by the size of objects.

An object is a connected component of a class in the labels. Objects are sorted by area into
quarters of their own class, so that size is independent of class. The recall of a quarter is the
mean over classes of the share of its pixels that are right. If transfer depends on scale (A4), the
gain of dynamic scaling over PGD should depend on object size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segtransfer.breakdowns.object_quarters import QUARTERS
from segtransfer.breakdowns.sizes import Recalls
from segtransfer.experiment.spec import Experiment
from segtransfer.experiment.task import CLEAN
from segtransfer.results import PAIR_GROUPS
from segtransfer.results.text import TARGETS_OF
from segtransfer.statistics import Interval, Pair, Resampled, pairs_of
from segtransfer.statistics.resampled import Values
from segtransfer.studies.base import (
    SCORES,
    BaseExperiment,
    at_equal_cost,
    check_transfer,
    experiment_of,
)
from segtransfer.studies.contrasts import combine, mean, total
from segtransfer.studies.study import (
    COMPARED_ATTACKS,
    OVER_PGD,
    Facts,
    IntervalByScore,
    Study,
    facts_of,
    levels,
    plain_value,
    signed,
    transfer_groups,
)
from segtransfer.studies.verdicts import NEGLIGIBLE, Reading, Verdict, judge


@dataclass(frozen=True)
class Bar:
    """The drop in recall of each quarter under an attack, mean over a group's pairs.

    Attributes:
        attack: ``pgd`` or ``ds``.
        score: ``raw`` or ``equal-rms``.
        group: The pair group.
        drops: The drop in percentage points per quarter of ``QUARTERS``.
    """

    attack: str
    score: str
    group: str
    drops: tuple[Interval, ...]


@dataclass(frozen=True)
class Sizes:
    """Recall by quarter of object size, and drops in recall, in percentage points.

    Attributes:
        facts: The data.
        group: The pair group of ``gains`` and ``uneven``.
        objects: The number of objects in all labels.
        areas: The median area of objects per quarter, in pixels; NaN without objects.
        clean: The recall on clean images per quarter, in percent, mean over targets.
        bars: The drops.
        gains: Per score and quarter, the drop under dynamic scaling minus the drop under PGD.
        uneven: Per score, the gain on the smallest quarter minus the gain on the largest.
    """

    facts: Facts
    group: str
    objects: int
    areas: tuple[float, ...]
    clean: tuple[Interval, ...]
    bars: tuple[Bar, ...]
    gains: dict[str, tuple[Interval, ...]]
    uneven: IntervalByScore


def experiment(base: BaseExperiment) -> Experiment:
    """Add PGD and dynamic scaling to a base, at equal cost.

    Returns:
        The experiment with ``pgd`` and ``ds`` at the base's eps, scored raw and at equal energy.

    Raises:
        InputError: If the base's only source is its only target.
    """
    check_transfer(base)
    return experiment_of(
        base, STUDY.name, [at_equal_cost(base, preset) for preset in COMPARED_ATTACKS]
    )


def _drop(recalls: Recalls, attack: str, pairs: Sequence[Pair]) -> Values:
    """Return the drop in recall under an attack on every resample, mean over pairs.

    Args:
        recalls: The recall of every cell.
        attack: The name of an attack's variant.
        pairs: Pairs of source and target, at least one.

    Returns:
        Per factor (R + 1) x 4 in percentage points; row 0 is the drop itself.
    """
    parts = [
        total([(1, recalls.of(CLEAN, None, target)), (-1, recalls.of(attack, source, target))])
        for source, target in pairs
    ]
    return mean(parts)


def findings(sample: Resampled, base: BaseExperiment) -> Sizes:
    """Compute recall, drops and gains by quarter.

    Args:
        sample: The resampled results of the study's experiment.
        base: The base of the experiment.

    Raises:
        InputError: If all pairs are white-box, or a shard or a prediction is missing.
    """
    results, recalls = sample.results, Recalls(sample)
    groups = transfer_groups(results)
    by_group = {group: pairs for group in PAIR_GROUPS if (pairs := pairs_of(results, group))}
    bars = tuple(
        Bar(attack, score, group, _each(sample, _drop(recalls, attack + mark, pairs)))
        for attack in COMPARED_ATTACKS
        for score, mark in SCORES.items()
        for group, pairs in by_group.items()
    )
    pairs = by_group[groups[0]]
    gains = {
        score: total(
            [(1, _drop(recalls, "ds" + mark, pairs)), (-1, _drop(recalls, "pgd" + mark, pairs))]
        )
        for score, mark in SCORES.items()
    }
    targets = [recalls.of(CLEAN, None, target) for target in results.targets]
    return Sizes(
        facts=facts_of(sample, f"{levels(base.eps)}, {base.cost:g} forward equivalents per attack"),
        group=groups[0],
        objects=sum(len(areas) for areas in recalls.areas),
        areas=tuple(float(np.median(a)) if a.size else float("nan") for a in recalls.areas),
        clean=_each(sample, mean(targets)),
        bars=bars,
        gains={score: _each(sample, values) for score, values in gains.items()},
        uneven={
            score: combine(sample.design, [(1, _column(values, 0)), (-1, _column(values, -1))])
            for score, values in gains.items()
        },
    )


def _column(values: Values, quarter: int) -> Values:
    return [part[:, quarter] for part in values]


def _each(sample: Resampled, values: Values) -> tuple[Interval, ...]:
    """Return the interval of every quarter."""
    return tuple(
        combine(sample.design, [(1, _column(values, quarter))]) for quarter in range(len(QUARTERS))
    )


def sentences(numbers: Sizes) -> list[str]:
    """Return the findings as sentences."""
    lines = []
    for attack, words in COMPARED_ATTACKS.items():
        (bar,) = (
            bar
            for bar in numbers.bars
            if (bar.attack, bar.score, bar.group) == (attack, "raw", numbers.group)
        )
        lines.append(
            f"On {TARGETS_OF[numbers.group]} the drop in recall under {words} is "
            f"{_list(bar.drops)} points, from the smallest to the largest quarter of objects."
        )
    raw = ", ".join(signed(interval) for interval in numbers.gains["raw"])
    lines.append(
        f"The gain of dynamic scaling over PGD is {raw} points (raw); the gain on the smallest "
        f"quarter minus the gain on the largest is {signed(numbers.uneven)} points."
    )
    return lines


def verdicts(numbers: Sizes) -> list[Verdict]:
    """Return the verdict on A4.

    Returns:
        The standing by an ``uneven`` gain of either sign.
    """
    depends = Reading(
        "A4",
        "read as: the gain of dynamic scaling depends on object size; the gain on the smallest "
        f"quarter minus the gain on the largest is {signed(numbers.uneven)} points; {OVER_PGD}",
        either=True,
        equality=NEGLIGIBLE,
        effect=True,
    )
    return [judge(depends, numbers.uneven, numbers.facts.scope)]


def _list(intervals: Sequence[Interval]) -> str:
    return ", ".join(plain_value(interval.value) for interval in intervals)


STUDY: Study[Sizes] = Study(
    name="object-size",
    question="On things of which size does an attack transfer?",
    experiment=experiment,
    findings=findings,
    sentences=sentences,
    verdicts=verdicts,
)
