"""Sweep over eps (A5, A6): dynamic scaling and its best rival at several attack strengths."""

from dataclasses import dataclass, replace

from segtransfer.experiment.spec import Experiment
from segtransfer.results import PAIR_GROUPS
from segtransfer.results.text import TARGETS_OF
from segtransfer.statistics import Interval, Resampled, pairs_of
from segtransfer.studies.base import (
    SCORES,
    BaseExperiment,
    at_equal_cost,
    check_transfer,
    experiment_of,
)
from segtransfer.studies.contrasts import gain
from segtransfer.studies.study import (
    Facts,
    IntervalByScore,
    Study,
    ease,
    facts_of,
    plain_value,
    signed,
    transfer_groups,
    transfer_ratio,
)
from segtransfer.studies.verdicts import NEGLIGIBLE, Reading, Verdict, judge

LEVELS = (2, 4, 8, 16)  # of 255
OURS, RIVAL, BASELINE = "ds-mi", "rdi-mi", "pgd"
SWEPT_ATTACKS = {"noise": "noise", BASELINE: "PGD", RIVAL: "RDI-MI", OURS: "DS-MI"}


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
class Strength:
    """The comparison at an eps, on the pair group of the verdicts.

    Attributes:
        level: The eps, times 255.
        gains: The drop under dynamic scaling minus the drop under ``RIVAL`` and under ``BASELINE``,
            in percentage points per score, by attack.
        ratio: The transfer ratio of dynamic scaling in percent, per score.
    """

    level: int
    gains: dict[str, IntervalByScore]
    ratio: IntervalByScore


@dataclass(frozen=True)
class Sweep:
    """The findings of the sweep.

    Attributes:
        facts: The data.
        group: The pair group of ``strengths``.
        lines: The drops.
        strengths: The comparison at each eps of ``LEVELS``.
    """

    facts: Facts
    group: str
    lines: tuple[Line, ...]
    strengths: tuple[Strength, ...]


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
    group = transfer_groups(results)[0]
    pairs = pairs_of(results, group)
    lines = [
        Line(
            attack,
            score,
            drawn,
            tuple(sample.mean(f"{attack}-{level}{mark}", on, "drop") for level in LEVELS),
        )
        for drawn in PAIR_GROUPS
        if (on := pairs_of(results, drawn))
        for score, mark in SCORES.items()
        for attack in SWEPT_ATTACKS
    ]
    strengths = [
        Strength(
            level,
            {
                other: {
                    score: gain(sample, f"{OURS}-{level}{mark}", f"{other}-{level}{mark}", pairs)
                    for score, mark in SCORES.items()
                }
                for other in (RIVAL, BASELINE)
            },
            transfer_ratio(sample, f"{OURS}-{level}", pairs),
        )
        for level in LEVELS
    ]
    facts = facts_of(sample, f"{base.cost:g} forward equivalents per attack")
    return Sweep(facts, group, tuple(lines), tuple(strengths))


def sentences(numbers: Sweep) -> list[str]:
    """Return the findings as sentences."""
    lines = []
    for other in (RIVAL, BASELINE):
        parts = [f"{signed(at.gains[other])} at {at.level}/255" for at in numbers.strengths]
        lines.append(
            f"On {TARGETS_OF[numbers.group]} the mean drop in mIoU under {SWEPT_ATTACKS[OURS]} "
            f"minus the drop under {SWEPT_ATTACKS[other]}, in points, is {'; '.join(parts)}."
        )
    floor = next(
        line for line in numbers.lines
        if (line.attack, line.score, line.group) == ("noise", "raw", numbers.group)
    )  # fmt: skip
    lines.append(
        "The drops under noise at these eps are "
        + ", ".join(plain_value(i.value) for i in floor.drops)
        + " points."
    )
    return lines


def verdicts(numbers: Sweep) -> list[Verdict]:
    """Return the verdicts on A5 and A6 at each eps.

    Returns:
        A5 by the gain of dynamic scaling over its rival, corrected for the number of eps; A6 as
        ``ease``.
    """
    found = []
    for at in numbers.strengths:
        words = (
            f"the drop under {SWEPT_ATTACKS[OURS]} minus {SWEPT_ATTACKS[RIVAL]} is "
            f"{signed(at.gains[RIVAL])} points"
        )
        eps = f"{at.level}/255"
        reading = Reading("A5", words, equality=NEGLIGIBLE, at=eps)
        facts = replace(numbers.facts, eps=at.level / 255)
        looks = len(numbers.strengths)
        found.append(judge(reading, at.gains[RIVAL], facts.scope, looks=looks))
        found.append(ease(at.ratio, facts, eps))
    return found


STUDY: Study[Sweep] = Study(
    name="eps",
    question="At which strengths does dynamic scaling transfer better than its best rival?",
    experiment=experiment,
    findings=findings,
    sentences=sentences,
    verdicts=verdicts,
)
