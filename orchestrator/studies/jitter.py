"""Jitter (A4): the gain of random scales against the gain of changes without scales.

Dynamic scaling with ranges from +-2 % to +-50 %, and three controls that move content by a few
pixels or mirror images: all at equal cost and without momentum. If small scales, shifts, paddings
or mirror images gain as much as wide ranges, the gain does not come from objects seen at several
scales.
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
from segtransfer.studies.study import Study, signed
from segtransfer.studies.verdicts import NEGLIGIBLE, Reading, Verdict, judge

JITTERS = (2, 5, 10, 25, 50)  # percent
SMALL = (2, 5, 10)
WIDEST = "scales-50"
RANGES: dict[str, dict[str, Any]] = {
    f"scales-{percent}": {
        "preset": "ds",
        "transforms": [{"ds": {"low": 1 - percent / 100, "width": percent / 50}}],
    }
    for percent in JITTERS
}
CONTROLS: dict[str, dict[str, Any]] = {
    "rdi": {"preset": "rdi"},
    "shift": {"preset": "pgd", "transforms": ["shift"]},
    "flip": {"preset": "pgd", "transforms": ["flip"]},
}
WIDE = ["scales-25"]  # between small jitter and the judged range
OTHERS = [*(f"scales-{percent}" for percent in SMALL), *CONTROLS]


def experiment(base: BaseExperiment) -> Experiment:
    """Add PGD, dynamic scaling of each range and the controls to a base, at equal cost.

    Returns:
        The experiment, at the base's eps, scored raw and at equal energy.

    Raises:
        InputError: If the base's only source is its only target.
    """
    return experiment_at_equal_cost(base, STUDY.name, {**RANGES, **CONTROLS})


def findings(sample: Resampled, base: BaseExperiment) -> EqualCost:
    """Compute drops, and the difference of the widest range to small jitter and controls.

    Args:
        sample: The resampled results of the study's experiment.
        base: The base of the experiment.

    Raises:
        InputError: If all pairs are white-box.
    """
    return compare(sample, base, WIDEST, OTHERS, WIDE)


def sentences(numbers: EqualCost) -> list[str]:
    """Return the findings as sentences."""
    gains = ", ".join(f"{o.name} {signed(o.behind['raw'])}" for o in numbers.others)
    return [
        drops_in_words(numbers),
        f"The drop under {WIDEST} minus the drop under PGD is {signed(numbers.baseline.behind)} "
        f"points, and minus the drop under each jitter, raw, {gains}.",
    ]


def verdicts(numbers: EqualCost) -> list[Verdict]:
    """Return the verdict on A4.

    Returns:
        The verdict by the difference of scales of +-50 % to the best of small jitter, shift, flip
        and RDI, corrected for the choice of the best. Shown equality contradicts A4.
    """
    words = (
        "read as: the gain comes from objects seen at several scales, so wide ranges of scales "
        f"gain more than jitter; {over_best_in_words(numbers)}"
    )
    reading = Reading("A4", words, equality=NEGLIGIBLE, effect=True)
    looks = len(numbers.others)
    return [judge(reading, numbers.over_best, numbers.facts.scope, looks=looks)]


STUDY: Study[EqualCost] = Study(
    name="jitter",
    question="Does the gain of dynamic scaling come from scales, or from any jitter?",
    experiment=experiment,
    findings=findings,
    sentences=sentences,
    verdicts=verdicts,
)
