"""An attack beside others at equal cost: drops, and the difference to the best of the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segtransfer.experiment.spec import Experiment
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
    facts_of,
    levels,
    plain_value,
    signed,
    transfer_groups,
    transfer_ratio,
)

BASELINE = "pgd"
NamedAttacks = Mapping[str, Mapping[str, Any]]  # by name: an attack's preset and changed fields


@dataclass(frozen=True)
class Other:
    """Another attack at the cost of the judged attack.

    Attributes:
        name: The name.
        rms: The root mean square of the perturbation, in 8-bit levels.
        drop: The mean drop in mIoU in percentage points, per score.
        behind: The judged attack's drop minus this drop in percentage points, per score.
    """

    name: str
    rms: float
    drop: IntervalByScore
    behind: IntervalByScore


@dataclass(frozen=True)
class EqualCost:
    """The findings of a comparison at equal cost.

    Attributes:
        facts: The data.
        group: The pair group of all numbers.
        attack: The name of the judged attack.
        rms: The root mean square of its perturbation, in 8-bit levels.
        drop: Its mean drop in mIoU in percentage points, per score.
        others: The other attacks, of which the judged attack must beat the best.
        further: Attacks that no verdict reads.
        baseline: PGD, which the judged attack and the others improve on.
        ratio: The judged attack's transfer ratio in percent, per score.
    """

    facts: Facts
    group: str
    attack: str
    rms: float
    drop: IntervalByScore
    others: tuple[Other, ...]
    further: tuple[Other, ...]
    baseline: Other
    ratio: IntervalByScore

    @property
    def all_others(self) -> tuple[Other, ...]:
        """Return every attack but the judged one."""
        return (*self.others, *self.further, self.baseline)

    def best(self, score: str) -> Other:
        """Return the other attack with the largest drop in a score."""
        return max(self.others, key=lambda other: other.drop[score].value)

    @property
    def over_best(self) -> IntervalByScore:
        """Return the judged attack's drop minus the best other's, per score.

        Returns:
            Differences in percentage points. The best is chosen on the same images, so a verdict
            corrects for the number of ``others``.
        """
        return {score: self.best(score).behind[score] for score in SCORES}


def experiment_at_equal_cost(base: BaseExperiment, study: str, attacks: NamedAttacks) -> Experiment:
    """Add PGD and other attacks to a base, at equal cost.

    Args:
        base: The base.
        study: The study's name.
        attacks: ``preset`` and changed fields of each attack by name.

    Returns:
        The experiment, at the base's eps and cost, scored raw and at equal energy.

    Raises:
        InputError: If the base's only source is its only target.
    """
    check_transfer(base)
    specs = [at_equal_cost(base, BASELINE)]
    for name, fields in attacks.items():
        preset, changed = fields["preset"], {k: v for k, v in fields.items() if k != "preset"}
        specs.append(at_equal_cost(base, preset, name=name, **changed))
    return experiment_of(base, study, specs)


def compare(
    sample: Resampled,
    base: BaseExperiment,
    attack: str,
    others: Sequence[str],
    further: Sequence[str] = (),
) -> EqualCost:
    """Compare an attack with others and with PGD.

    Args:
        sample: The resampled results of the study's experiment.
        base: The base of the experiment.
        attack: The name of the judged attack.
        others: The names of the other attacks.
        further: The names of attacks that no verdict reads.

    Raises:
        InputError: If all pairs are white-box.
    """
    results = sample.results
    group = transfer_groups(results)[0]
    pairs = pairs_of(results, group)

    def drop(name: str) -> IntervalByScore:
        return {score: sample.mean(name + m, pairs, "drop") for score, m in SCORES.items()}

    def behind(name: str) -> dict[str, Interval]:
        return {score: gain(sample, attack + m, name + m, pairs) for score, m in SCORES.items()}

    def rms(name: str) -> float:
        return float(results.perturbation(name).get("rms", np.nan))

    def other(name: str) -> Other:
        return Other(name, rms(name), drop(name), behind(name))

    return EqualCost(
        facts=facts_of(sample, f"{levels(base.eps)}, {base.cost:g} forward equivalents per attack"),
        group=group,
        attack=attack,
        rms=rms(attack),
        drop=drop(attack),
        others=tuple(map(other, others)),
        further=tuple(map(other, further)),
        baseline=other(BASELINE),
        ratio=transfer_ratio(sample, attack, pairs),
    )


def drops_in_words(numbers: EqualCost) -> str:
    """Return a sentence with the drop of every attack, raw, and its energy."""
    parts = [(numbers.attack, numbers.drop["raw"], numbers.rms)]
    parts += [(o.name, o.drop["raw"], o.rms) for o in numbers.all_others]
    ordered = sorted(parts, key=lambda part: -part[1].value)
    listed = ", ".join(
        f"{name} {plain_value(drop.value)} ({rms:.1f})" for name, drop, rms in ordered
    )
    return (
        f"On {TARGETS_OF[numbers.group]} the mean drop in mIoU, raw, in points (and the RMS of the "
        f"perturbation, in levels) is {listed}."
    )


def over_best_in_words(numbers: EqualCost) -> str:
    """Return a clause with the judged attack's drop minus the best other's, per score."""
    named = dict.fromkeys(numbers.best(score).name for score in SCORES)
    return (
        f"the drop under {numbers.attack} minus the drop under the best of "
        f"{len(numbers.others)} ({', '.join(named)}) is {signed(numbers.over_best)} points"
    )
