"""Rivals (A5, A6): dynamic scaling with momentum against other input transforms with momentum.

Every attack costs the same. Dynamic scaling supports A5 only if its drop is larger than the drop
under the best rival, raw and at equal energy, and not only larger than PGD's.
"""

from typing import Any

from segtransfer.experiment.spec import Experiment
from segtransfer.statistics import Resampled
from segtransfer.studies.base import BaseExperiment
from segtransfer.studies.equal_cost import (
    EqualCost,
    compare,
    drops_in_words,
    experiment_at_equal_cost,
    over_best_in_words,
)
from segtransfer.studies.study import Study, ease, signed
from segtransfer.studies.verdicts import NEGLIGIBLE, Reading, Verdict, judge

OURS = "ds-mi"
RIVALS: dict[str, dict[str, Any]] = {
    "mi": {"preset": "mi"},
    "di-mi": {"preset": "di-mi"},
    "rdi-mi": {"preset": "rdi-mi"},
    "flip-mi": {"preset": "flip-mi"},
    "si-mi": {"preset": "si-random"},
    # A copy per step instead of 20, so that the cost buys as many steps as the others have.
    "sia-mi": {"preset": "sia", "transforms": [{"sia": {"copies": 1}}]},
}

WITHOUT_MOMENTUM: dict[str, dict[str, Any]] = {
    "ds": {"preset": "ds"}
}  # without momentum, beside PGD


def experiment(base: BaseExperiment) -> Experiment:
    """Add PGD, dynamic scaling with momentum and its rivals to a base, at equal cost.

    Returns:
        The experiment, at the base's eps, scored raw and at equal energy.

    Raises:
        InputError: If the base's only source is its only target.
    """
    attacks = {OURS: {"preset": OURS}, **RIVALS, **WITHOUT_MOMENTUM}
    return experiment_at_equal_cost(base, STUDY.name, attacks)


def findings(sample: Resampled, base: BaseExperiment) -> EqualCost:
    """Compute drops, differences and the transfer ratio.

    Args:
        sample: The resampled results of the study's experiment.
        base: The base of the experiment.

    Raises:
        InputError: If all pairs are white-box.
    """
    return compare(sample, base, OURS, list(RIVALS), list(WITHOUT_MOMENTUM))


def sentences(numbers: EqualCost) -> list[str]:
    """Return the findings as sentences."""
    return [
        drops_in_words(numbers),
        f"The drop under {OURS} minus the drop under PGD is {signed(numbers.baseline.behind)} "
        "points.",
    ]


def verdicts(numbers: EqualCost) -> list[Verdict]:
    """Return the verdicts on A5 and A6.

    Returns:
        A5 by the difference to the best rival, corrected for the choice of the best; A6 as
        ``ease``.
    """
    reading = Reading("A5", over_best_in_words(numbers), equality=NEGLIGIBLE)
    looks = len(numbers.others)
    found = judge(reading, numbers.over_best, numbers.facts.scope, looks=looks)
    return [found, ease(numbers.ratio, numbers.facts)]


STUDY: Study[EqualCost] = Study(
    name="rivals",
    question="Does dynamic scaling transfer better than the best other input transform?",
    experiment=experiment,
    findings=findings,
    sentences=sentences,
    verdicts=verdicts,
)
