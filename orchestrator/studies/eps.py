"""Sweep over eps (A5, A6): the transfer of dynamic scaling at several attack strengths."""

from dataclasses import dataclass

from segtransfer.experiment.spec import Experiment
from segtransfer.results import PAIR_GROUPS
from segtransfer.results.text import TARGETS_OF
from segtransfer.statistics import Interval, Resampled, holm, pairs_of
from segtransfer.studies.base import (
    SCORES,
    BaseExperiment,
    at_equal_cost,
    check_transfer,
    experiment_of,
)
from segtransfer.studies.contrasts import gain
from segtransfer.studies.study import (
    OVER_PGD,
    Facts,
    IntervalByScore,
    Study,
    ease,
    facts_of,
    signed,
    spread,
    transfer_groups,
    transfer_ratio,
)
from segtransfer.studies.verdicts import NEGLIGIBLE, Reading, Verdict, judge

LEVELS = (2, 4, 8, 16)  # of 255
SWEPT_ATTACKS = {"noise": "noise", "pgd": "PGD", "mi": "MI", "ds": "DS", "ds-mi": "DS-MI"}
BASELINES = {"ds": "pgd", "ds-mi": "mi"}


@dataclass(frozen=True)
class Line:
    """The mean drop in mIoU over a group's pairs at each eps.

    Attributes:
        attack: A key of ``SWEPT_ATTACKS``.
        score: ``raw`` or ``equal-rms``.
        group: The pair group.
        drops: The drop in percentage points per eps of ``LEVELS``.
    """

    attack: str
    score: str
    group: str
    drops: tuple[Interval, ...]


@dataclass(frozen=True)
class Gain:
    """The gain of an attack over its baseline at each eps.

    Attributes:
        attack: A key of ``BASELINES``.
        baseline: The baseline.
        score: ``raw`` or ``equal-rms``.
        group: The pair group.
        values: The difference of mean drops in percentage points, per eps.
        beyond: Whether each gain is beyond noise, after Holm's correction for the number of eps.
    """

    attack: str
    baseline: str
    score: str
    group: str
    values: tuple[Interval, ...]
    beyond: tuple[bool, ...]


@dataclass(frozen=True)
class Sweep:
    """The findings of the sweep.

    Attributes:
        facts: The data.
        levels: The eps of the sweep, times 255.
        group: The pair group of the verdicts.
        lines: The drops.
        gains: The gains.
        ratios: The transfer ratio of dynamic scaling in percent, per eps and score.
    """

    facts: Facts
    levels: tuple[int, ...]
    group: str
    lines: tuple[Line, ...]
    gains: tuple[Gain, ...]
    ratios: tuple[IntervalByScore, ...]


def experiment(base: BaseExperiment) -> Experiment:
    """Add the attacks at each eps to a base, at equal cost.

    Returns:
        The experiment with an attack per eps of ``LEVELS`` and preset of ``SWEPT_ATTACKS``, named
        ``PRESET-LEVEL``, scored raw and at equal energy.

    Raises:
        InputError: If the base's only source is its only target.
    """
    check_transfer(base)
    attacks = []
    for level in LEVELS:
        for preset in SWEPT_ATTACKS:
            attack = at_equal_cost(base, preset, name=f"{preset}-{level}", eps=f"{level}/255")
            if preset == "noise":
                del attack["budget"]  # an attack of zero steps has no budget
            attacks.append(attack)
    return experiment_of(base, STUDY.name, attacks)


def findings(sample: Resampled, base: BaseExperiment) -> Sweep:
    """Compute drops, gains and transfer ratios at each eps.

    Args:
        sample: The resampled results of the study's experiment.
        base: The base of the experiment.

    Raises:
        InputError: If all pairs are white-box.
    """
    results = sample.results
    groups = transfer_groups(results)
    lines, gains = [], []
    for group in PAIR_GROUPS:
        pairs = pairs_of(results, group)
        for score, mark in SCORES.items() if pairs else ():
            for attack in SWEPT_ATTACKS:
                names = [f"{attack}-{level}{mark}" for level in LEVELS]
                found = tuple(sample.mean(name, pairs, "drop") for name in names)
                lines.append(Line(attack, score, group, found))
            for attack, baseline in BASELINES.items():
                values = tuple(
                    gain(sample, f"{attack}-{level}{mark}", f"{baseline}-{level}{mark}", pairs)
                    for level in LEVELS
                )
                beyond = tuple(holm([value.p for value in values]))
                gains.append(Gain(attack, baseline, score, group, values, beyond))
    pairs = pairs_of(results, groups[0])
    return Sweep(
        facts=facts_of(sample, f"{base.cost:g} forward equivalents per attack"),
        levels=LEVELS,
        group=groups[0],
        lines=tuple(lines),
        gains=tuple(gains),
        ratios=tuple(transfer_ratio(sample, f"ds-{level}", pairs) for level in LEVELS),
    )


def judged(numbers: Sweep, attack: str) -> list[Gain]:
    """Return the gains of an attack on the pair group of the verdicts, a gain per score."""
    return [g for g in numbers.gains if (g.attack, g.group) == (attack, numbers.group)]


def sentences(numbers: Sweep) -> list[str]:
    """Return the findings as sentences."""
    lines = []
    for attack, baseline in BASELINES.items():
        gains = {g.score: g for g in judged(numbers, attack)}
        parts = [
            f"{signed({score: g.values[i] for score, g in gains.items()})} at {level}/255"
            for i, level in enumerate(numbers.levels)
        ]
        lines.append(
            f"On {TARGETS_OF[numbers.group]} the mean drop in mIoU under {SWEPT_ATTACKS[attack]} "
            f"minus the drop under {SWEPT_ATTACKS[baseline]}, in points, is {'; '.join(parts)}."
        )
    floor = next(
        line for line in numbers.lines
        if (line.attack, line.score, line.group) == ("noise", "raw", numbers.group)
    )  # fmt: skip
    lines.append(
        "The drops under noise at these eps are "
        + ", ".join(f"{i.value:.1f}" for i in floor.drops)
        + " points."
    )
    return lines


def verdicts(numbers: Sweep) -> list[Verdict]:
    """Return the verdicts on A5 and A6.

    Returns:
        A5 by the gain of dynamic scaling over PGD at every eps, in all scores; A6 as ``ease``.
    """
    gains = {
        f"{g.score} at {level}": value
        for g in judged(numbers, "ds")
        for level, value in zip(numbers.levels, g.values, strict=True)
    }
    words = (
        f"at eps {', '.join(map(str, numbers.levels))} of 255 the drop under DS minus PGD is "
        f"{spread(gains)} points; {OVER_PGD}"
    )
    return [
        judge(Reading("A5", words, equality=NEGLIGIBLE), gains, numbers.facts.scope),
        ease(numbers.ratios, numbers.facts),
    ]


STUDY: Study[Sweep] = Study(
    name="eps",
    question="At which strengths does dynamic scaling transfer better?",
    experiment=experiment,
    findings=findings,
    sentences=sentences,
    verdicts=verdicts,
)
