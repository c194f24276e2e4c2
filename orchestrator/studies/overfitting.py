"""Overfitting (A1, A2, A3): the mIoU of targets over the steps of an attack.

Each attack runs once, at a fixed step size, with AEs kept after 1, 2, 3, 5 ... steps. The
overfitting index is O = T(K) - min_k T(k), with T the mean mIoU of targets after k steps and K the
last step. The best k is selected on half of the images and scored on the other half, in both
directions, so that selection does not bias O.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from segtransfer.experiment.spec import Experiment
from segtransfer.results import PAIR_GROUPS, Results
from segtransfer.results.text import TARGETS_OF
from segtransfer.statistics import Interval, Pair, Resampled, pairs_of
from segtransfer.studies.base import SCORES, BaseExperiment, check_transfer, experiment_of
from segtransfer.studies.contrasts import Term, combine, drops
from segtransfer.studies.study import (
    COMPARED_ATTACKS,
    Facts,
    Study,
    facts_of,
    levels,
    signed,
    spread,
    transfer_groups,
)
from segtransfer.studies.verdicts import NEGLIGIBLE, Reading, Verdict, judge, untested
from segtransfer.tasks.randomness import schedule_group

KEPT_STEPS = (1, 2, 3, 5, 7, 10, 20, 40, 60, 80, 100)
LEAST_STEPS = 20  # a shorter attack is too short to overfit


@dataclass(frozen=True)
class Curve:
    """The mean mIoU over a group's pairs after each of the steps.

    Attributes:
        attack: ``pgd`` or ``ds``.
        score: ``raw`` or ``equal-rms``.
        group: The pair group.
        values: The mIoU in percent after each step.
        overfit: The overfitting index O in percentage points.
        best: The step that each half of the images selects.
        last: The last step.
        source: The change of the source's own mIoU from the selected step to the last, in
            percentage points; below 0 if the mIoU still falls.
        gap: The drop of the source itself minus the drop of the targets after the last step, in
            percentage points.
    """

    attack: str
    score: str
    group: str
    values: tuple[Interval, ...]
    overfit: Interval
    best: tuple[int, int]
    last: int
    source: Interval
    gap: Interval

    @property
    def falls(self) -> bool:
        """Return whether the last step is the best on both halves, so that O is 0 by definition."""
        return set(self.best) == {self.last}


@dataclass(frozen=True)
class Iterates:
    """The AEs of an attack after each of the steps, in a single score.

    Attributes:
        attack: The attack's name.
        score: A key of ``SCORES``.
        steps: The steps after which AEs are kept, rising.
    """

    attack: str
    score: str
    steps: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        """Return the names of the variants, a name per step."""
        return [f"{self.attack}:{step}{SCORES[self.score]}" for step in self.steps]


@dataclass(frozen=True)
class Overfitting:
    """The findings of the study.

    Attributes:
        facts: The data.
        steps: The steps after which AEs are kept.
        curves: A curve per attack, score and pair group.
    """

    facts: Facts
    steps: tuple[int, ...]
    curves: tuple[Curve, ...]

    def of(self, attack: str, group: str) -> list[Curve]:
        """Return the curves of an attack on a pair group, a curve per score, raw first."""
        return [c for c in self.curves if (c.attack, c.group) == (attack, group)]


def experiment(base: BaseExperiment) -> Experiment:
    """Add PGD and dynamic scaling to a base, with AEs kept after some of the steps.

    Returns:
        The experiment with ``pgd`` and ``ds`` at the base's eps and number of steps, kept after the
        steps of ``KEPT_STEPS`` and the last step, scored raw and at equal energy.

    Raises:
        InputError: If the base's only source is its only target.
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
    halves = _halves(sample)
    curves = []
    for attack, score in product(COMPARED_ATTACKS, SCORES):
        iterates = Iterates(attack, score, steps)
        for group in PAIR_GROUPS:
            if pairs := pairs_of(results, group):
                curves.append(_curve(sample, halves, iterates, group, pairs))
    effort = f"{levels(base.eps)}, {base.steps} steps of a fixed size"
    return Overfitting(facts_of(sample, effort), steps, tuple(curves))


def _kept(last: int) -> tuple[int, ...]:
    return (*(step for step in KEPT_STEPS if step < last), last)


def _halves(sample: Resampled) -> tuple[Resampled, Resampled]:
    """Return two halves of the images, each with the design of the whole."""
    first = first_half(sample.results)
    one, other = (
        Resampled(_only(sample.results, mask), design=sample.design) for mask in (first, ~first)
    )
    return one, other


def first_half(results: Results) -> np.ndarray:
    """Return a mask of about half of the images.

    Schedule groups are not divided, so a selection on the first half is independent of the scales
    of the second. If all images share a single group, the mask has the first half of the images.

    Args:
        results: The results, with N images.

    Returns:
        bool N.
    """
    count = results.manifest.settings.schedule_groups
    groups = np.array([schedule_group(name, count) for name in results.image_ids])
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) == 1:
        return np.arange(len(groups)) < len(groups) / 2
    upto = np.cumsum(sizes)[:-1]
    return groups <= names[np.abs(upto - len(groups) / 2).argmin()]


def _only(results: Results, mask: np.ndarray) -> Results:
    """Return the results with the counts of all other images at zero."""
    counts = {cell: matrix * mask[:, None, None] for cell, matrix in results.counts.items()}
    return replace(results, counts=counts, fooled={})


def _curve(
    sample: Resampled,
    halves: tuple[Resampled, Resampled],
    iterates: Iterates,
    group: str,
    pairs: Sequence[Pair],
) -> Curve:
    """Compute the curve of an attack over the pairs of a group."""
    names, steps = iterates.names, iterates.steps
    sources = {source for source, _ in pairs}
    own = [pair for pair in pairs_of(sample.results, "diagonal") if pair[0] in sources] or pairs
    picked = [_best(half, names, pairs) for half in halves]
    last = names[-1]
    return Curve(
        attack=iterates.attack,
        score=iterates.score,
        group=group,
        values=tuple(sample.mean(name, pairs) for name in names),
        overfit=_from_best_to_last(sample, halves, names, picked, pairs),
        best=(steps[picked[0]], steps[picked[1]]),
        last=steps[-1],
        source=_from_best_to_last(sample, halves, names, picked, own),
        gap=combine(
            sample.design, [(1, drops(sample, last, own)), (-1, drops(sample, last, pairs))]
        ),
    )


def _best(half: Resampled, names: Sequence[str], pairs: Sequence[Pair]) -> int:
    """Return the position of the iterate with the lowest mIoU on a half of the images."""
    return int(np.argmin([half.values(name, pairs)[0][0] for name in names]))


def _from_best_to_last(
    sample: Resampled,
    halves: tuple[Resampled, Resampled],
    names: Sequence[str],
    picked: Sequence[int],
    pairs: Sequence[Pair],
) -> Interval:
    """Return the mIoU after the last step minus the mIoU after the other half's best step."""
    terms: list[Term] = []
    for half, best in zip(halves, reversed(picked), strict=True):
        terms.append((0.5, half.values(names[-1], pairs)))
        terms.append((-0.5, half.values(names[best], pairs)))
    return combine(sample.design, terms)


def sentences(numbers: Overfitting) -> list[str]:
    """Return the findings as sentences."""
    lines = []
    for attack, words in COMPARED_ATTACKS.items():
        parts = []
        for group in ("cross_backbone", "same_backbone"):
            if curves := numbers.of(attack, group):
                raw = curves[0]
                parts.append(
                    f"mIoU on {TARGETS_OF[group]} changes from {raw.values[0].value:.1f} % after "
                    f"{numbers.steps[0]} step to {raw.values[-1].value:.1f} % after "
                    f"{numbers.steps[-1]} ({_index(curves)})"
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

    Returns:
        A1 is never tested. With fewer than ``LEAST_STEPS`` steps A2 and A3 are open. A2 is
        supported if a group of targets excludes an O of ``NEGLIGIBLE`` points, and contradicted if
        every group exceeds it while the source still improves. A3 follows from ``gap`` in groups
        that support A2, else A3 is open.
    """
    classifiers = untested("A1", "no classifier was attacked")
    groups = {g: c for g in PAIR_GROUPS if g != "diagonal" and (c := numbers.of("pgd", g))}
    last, scope = numbers.steps[-1], numbers.facts.scope
    if last < LEAST_STEPS:
        short = f"an attack of {last} steps is too short to overfit"
        return [classifiers, Verdict("A2", "open", short), Verdict("A3", "open", short)]
    found = {
        group: judge(
            _no_overfit(group, curves, last),
            {curve.score: curve.overfit for curve in curves},
            scope,
            looks=len(groups),
        )
        for group, curves in groups.items()
    }
    calm = {group: verdict for group, verdict in found.items() if verdict.standing == "supports"}
    if not calm:
        every = all(verdict.standing == "contradicts" for verdict in found.values())
        reason = " and ".join(verdict.reason for verdict in found.values())
        overfit = Verdict("A2", "contradicts" if every else "open", reason)
        return [classifiers, overfit, Verdict("A3", "open", "overfitting is not excluded")]
    reason = " and ".join(verdict.reason for verdict in calm.values())
    gaps = {f"{c.score} {group}": c.gap for group in calm for c in groups[group]}
    words = f"the drop on the source itself is {spread(gaps)} points larger than there"
    return [
        classifiers,
        Verdict("A2", "supports", reason),
        judge(Reading("A3", words), gaps, scope),
    ]


def _no_overfit(group: str, curves: Sequence[Curve], last: int) -> Reading:
    """Return the reading of A2 on a group of targets; the source must improve to contradict."""
    words = (
        f"on {TARGETS_OF[group]} PGD does not overfit within {last} steps, read as an O below "
        f"{NEGLIGIBLE:g} points: {_index(curves)}"
    )
    improves = all(curve.source.high < 0 for curve in curves)
    spared = "" if improves else "the source itself does not improve either"
    return Reading("A2", words, NEGLIGIBLE, below=True, spared=spared)


STUDY: Study[Overfitting] = Study(
    name="overfitting",
    question="Do AEs overfit the source the longer an attack runs?",
    experiment=experiment,
    findings=findings,
    sentences=sentences,
    verdicts=verdicts,
)
