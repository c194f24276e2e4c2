"""Overfitting (A1, A2, A3): the mIoU or accuracy of targets over the steps of an attack.

Each attack runs once, at a fixed step size, with AEs kept after 1, 2, 3, 5 ... steps. The
overfitting index is O = T(K) - min_k T(k), with T the mean metric of targets after k steps and K
the last step. The best k is selected on half of the images and scored on the other half, in both
directions, so that selection does not bias O. The metric is the mIoU of segmentation models (A2,
A3) or the accuracy of classifiers (A1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from segtransfer.experiment.spec import Experiment
from segtransfer.results import PAIR_GROUPS
from segtransfer.results.text import TARGETS_OF
from segtransfer.statistics import Resampled, pairs_of
from segtransfer.studies.base import SCORES, BaseExperiment, check_transfer, experiment_of
from segtransfer.studies.overfitting_curves import FLOOR, Curve, Iterates, curve_of, halves_of
from segtransfer.studies.study import (
    COMPARED_ATTACKS,
    EASY,
    Facts,
    IntervalByScore,
    Study,
    facts_of,
    judge_with_curve,
    levels,
    plain,
    signed,
    spread,
    transfer_groups,
    transfer_ratio,
)
from segtransfer.studies.verdicts import (
    NEGLIGIBLE,
    Reading,
    Standing,
    Verdict,
    judge,
    untested,
)

KEPT_STEPS = (1, 2, 3, 5, 7, 10, 20, 40, 60, 80, 100)
LEAST_STEPS = 20  # a shorter attack is too short to overfit


@dataclass(frozen=True)
class Overfitting:
    """The findings of the study.

    Attributes:
        facts: The data.
        steps: The steps after which AEs are kept.
        curves: A curve per attack, score and pair group.
        ratios: Per pair group and score, the transfer ratio of PGD in percent after the last step;
            empty for a group whose targets are no sources.
    """

    facts: Facts
    steps: tuple[int, ...]
    curves: tuple[Curve, ...]
    ratios: dict[str, IntervalByScore]

    def of(self, attack: str, group: str) -> list[Curve]:
        """Return the curves of an attack on a pair group, a curve per score, raw first."""
        return [c for c in self.curves if (c.attack, c.group) == (attack, group)]


def experiment(base: BaseExperiment) -> Experiment:
    """Add PGD and dynamic scaling to a base, with AEs kept after some of the steps.

    Returns:
        The experiment with ``pgd`` and ``ds`` at the base's eps and number of steps, kept after the
        steps of ``KEPT_STEPS`` and the last step, scored raw and at equal energy.

    Raises:
        InputError: If the base's only source is its only target, or classifiers and segmentation
            models are mixed.
    """
    check_transfer(base)
    common = {"eps": base.eps, "steps": base.steps, "steps_at": _kept(base.steps)}
    attacks = [{"preset": preset, **common, "scores": list(SCORES)} for preset in COMPARED_ATTACKS]
    return experiment_of(base, STUDY.name, attacks, classifiers=True)


def findings(sample: Resampled, base: BaseExperiment) -> Overfitting:
    """Compute the curve of every attack, score and pair group.

    Args:
        sample: The resampled results of the study's experiment.
        base: The base of the experiment.

    Raises:
        InputError: If all pairs are white-box.
    """
    results, steps = sample.results, _kept(base.steps)
    transfer_groups(results)
    halves = halves_of(sample)
    by_group = {group: pairs for group in PAIR_GROUPS if (pairs := pairs_of(results, group))}
    curves = [
        curve_of(sample, halves, Iterates(attack, score, steps), group, pairs)
        for attack, score in product(COMPARED_ATTACKS, SCORES)
        for group, pairs in by_group.items()
    ]
    return Overfitting(
        facts=facts_of(sample, f"{levels(base.eps)}, {base.steps} steps of a fixed size"),
        steps=steps,
        curves=tuple(curves),
        ratios={
            group: transfer_ratio(sample, f"pgd:{steps[-1]}", pairs)
            for group, pairs in by_group.items()
        },
    )


def _kept(last: int) -> tuple[int, ...]:
    return (*(step for step in KEPT_STEPS if step < last), last)


def sentences(numbers: Overfitting) -> list[str]:
    """Return the findings as sentences."""
    lines = []
    for attack, words in COMPARED_ATTACKS.items():
        parts = []
        for group in ("cross_backbone", "same_backbone"):
            if curves := numbers.of(attack, group):
                first, last = (curves[0].values[place].value for place in (0, -1))
                parts.append(
                    f"{numbers.facts.metric} on {TARGETS_OF[group]} changes from {first:.1f} % "
                    f"after {numbers.steps[0]} step to {last:.1f} % after {numbers.steps[-1]} "
                    f"({_index(curves)})"
                )
        own = numbers.of(attack, "diagonal")
        if own:
            ends = [own[0].values[i].value for i in (0, -1)]
            parts.append(f"on {TARGETS_OF['diagonal']} from {ends[0]:.1f} % to {ends[1]:.1f} %")
        lines.append(f"Under {words}, {'; '.join(parts)}.")
    return lines


def _index(curves: Sequence[Curve]) -> str:
    """Return the overfitting index of each score in words."""
    if all(curve.falls for curve in curves):
        return "still falling at the last step"
    parts = [
        f"still falling at the last step ({curve.score})"
        if curve.falls
        else f"{signed(curve.overfit)} ({curve.score})"
        for curve in curves
    ]
    return f"overfitting index O = {' and '.join(parts)}"


def verdicts(numbers: Overfitting) -> list[Verdict]:
    """Return the verdicts on A1, A2 and A3, from the curves of PGD.

    A group of targets is overfitted if its O exceeds ``NEGLIGIBLE`` points, while the source still
    improves or is at its floor.

    Returns:
        On classifiers A1, supported if a group is overfitted and contradicted if no group is; on
        segmentation models A2, supported if a group is not overfitted and contradicted if every
        group is, and A3 by the transfer ratios of groups that support A2. A1 or A2 and A3 are open
        with fewer than ``LEAST_STEPS`` steps.
    """
    last, classifiers = numbers.steps[-1], numbers.facts.classifiers
    others = [untested(claim, "classifiers were attacked") for claim in ("A2", "A3")]
    if last < LEAST_STEPS:
        short = f"an attack of {last} steps is too short to overfit"
        judged = [Verdict(claim, "open", short) for claim in ("A1", "A2", "A3")]
    else:
        calm = _calm(numbers)
        judged = [
            _over_groups("A1", calm, some="contradicts", every="supports"),
            _over_groups("A2", calm, some="supports", every="contradicts"),
            _limited(numbers, calm),
        ]
    if classifiers:
        return [judged[0], *others]
    return [untested("A1", "no classifier was attacked"), *judged[1:]]


def _calm(numbers: Overfitting) -> dict[str, Verdict]:
    """Return per group of targets whether PGD spares the group from overfitting, read as A2."""
    groups = {g: c for g in PAIR_GROUPS if g != "diagonal" and (c := numbers.of("pgd", g))}
    return {
        group: judge(
            _no_overfit(group, curves, numbers.facts.metric),
            {curve.score: curve.overfit for curve in curves},
            numbers.facts.scope,
            looks=len(groups),
        )
        for group, curves in groups.items()
    }


def _over_groups(claim: str, found: dict[str, Verdict], some: Standing, every: Standing) -> Verdict:
    """Return a verdict that a single group with one standing supports, and all with another refute.

    Args:
        claim: The claim.
        found: A verdict per group.
        some: The standing of a group that supports the claim.
        every: The standing of all groups that contradicts the claim.
    """
    chosen = [verdict for verdict in found.values() if verdict.standing == some]
    reason = " and ".join(verdict.reason for verdict in chosen or found.values())
    if chosen:
        return Verdict(claim, "supports", reason)
    against = all(verdict.standing == every for verdict in found.values())
    return Verdict(claim, "contradicts" if against else "open", reason)


def _limited(numbers: Overfitting, calm: dict[str, Verdict]) -> Verdict:
    """Return the verdict on A3, by the transfer ratios of the groups that support A2."""
    groups = [group for group, verdict in calm.items() if verdict.standing == "supports"]
    if not groups:
        return Verdict("A3", "open", "overfitting is not excluded")
    ratios = {
        f"{score} {group}": ratio
        for group in groups
        for score, ratio in numbers.ratios[group].items()
    }
    if not ratios:
        return untested("A3", "no target is a source, so there is no transfer ratio")
    words = (
        f"read as: transfer is limited below a ratio of {EASY:g} %; after {numbers.steps[-1]} "
        f"steps of PGD the ratio there is {spread(ratios)} %"
    )
    reading = Reading("A3", words, EASY, unit="%", below=True)
    return judge_with_curve(reading, ratios, numbers.facts.scope)


def _no_overfit(group: str, curves: Sequence[Curve], metric: str) -> Reading:
    """Return the reading that PGD does not overfit on a group of targets.

    Overfitting is shown only if the source still improves, or is at its floor.
    """
    words = (
        f"on {TARGETS_OF[group]} PGD overfits within {curves[0].last} steps if O is above "
        f"{NEGLIGIBLE:g} points: {_index(curves)}"
    )
    sources = [curve.source for curve in curves if curve.source is not None]
    turned = [curve for curve in curves if not curve.falls]
    shares = {c.score: c.source.share for c in turned if c.source and c.source.share}
    if shares:
        parts = " and ".join(f"{plain(share)} % ({score})" for score, share in shares.items())
        words += f"; O is {parts} of the drop on the source itself less the drop there"
    spared = ""
    if not sources:
        spared = f"no source is a target, so the {metric} of the source is unknown"
    elif not all(source.improves or source.at_floor for source in sources):
        spared = "the source itself does not improve either"
    elif not all(source.improves for source in sources):
        values = " and ".join(f"{source.last.value:.1f} %" for source in sources)
        words += (
            f"; the {metric} of the source itself falls no further because it is at its floor, "
            f"{values}, below our bound of {FLOOR:g} %"
        )
    return Reading("A2", words, NEGLIGIBLE, below=True, spared=spared)


STUDY: Study[Overfitting] = Study(
    name="overfitting",
    question="Do AEs overfit the source the longer an attack runs?",
    experiment=experiment,
    findings=findings,
    sentences=sentences,
    verdicts=verdicts,
)
