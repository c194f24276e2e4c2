"""Curves of the metric over the steps of an attack, and the overfitting index of a curve."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from segtransfer.results import Results
from segtransfer.statistics import Design, Interval, Pair, Resampled, pairs_of
from segtransfer.statistics.intervals import interval_of
from segtransfer.statistics.resampled import Values
from segtransfer.studies.base import SCORES
from segtransfer.studies.contrasts import Term, drops, total
from segtransfer.tasks.randomness import schedule_group

FLOOR = 2.0  # percent, of ours; a source below has nothing left to lose


@dataclass(frozen=True)
class OnSource:
    """The metric of the source itself, which tells overfitting from an attack that gets weaker.

    Attributes:
        last: The metric in percent after the last step.
        change: The change from the selected step to the last, in percentage points.
        share: The index O in percent of the drop of the source itself minus the drop of the targets
            after the last step. None if that difference is not above 0 beyond noise.
    """

    last: Interval
    change: Interval
    share: Interval | None

    @property
    def improves(self) -> bool:
        """Return whether the source's metric still falls after the selected step, beyond noise."""
        return self.change.high < 0

    @property
    def at_floor(self) -> bool:
        """Return whether the source's metric after the last step is below ``FLOOR``."""
        return self.last.value < FLOOR


@dataclass(frozen=True)
class Curve:
    """The mean metric over a group's pairs after each of the steps.

    Attributes:
        attack: ``pgd`` or ``ds``.
        score: ``raw`` or ``equal-rms``.
        group: The pair group.
        values: The metric in percent after each step.
        overfit: The overfitting index O in percentage points.
        best: The step that each half of the images selects.
        last: The last step.
        source: The metric of the source itself; None if no source is a target.
    """

    attack: str
    score: str
    group: str
    values: tuple[Interval, ...]
    overfit: Interval
    best: tuple[int, int]
    last: int
    source: OnSource | None

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


def halves_of(sample: Resampled) -> tuple[Resampled, Resampled]:
    """Return the results on two halves of the images, each with the design of the whole."""
    first = first_half(sample.results)
    one, other = (
        Resampled(only_images(sample.results, mask), design=sample.design)
        for mask in (first, ~first)
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


def only_images(results: Results, mask: np.ndarray) -> Results:
    """Return the results with the counts of all other images at zero.

    Args:
        results: The results, with N images.
        mask: bool N, the images to keep.
    """
    counts = {cell: matrix * mask[:, None, None] for cell, matrix in results.counts.items()}
    return replace(results, counts=counts, fooled={})


def curve_of(
    sample: Resampled,
    halves: tuple[Resampled, Resampled],
    iterates: Iterates,
    group: str,
    pairs: Sequence[Pair],
) -> Curve:
    """Compute the curve of an attack over the pairs of a group.

    Args:
        sample: The resampled results.
        halves: The results on two halves of the images.
        iterates: The AEs of the attack.
        group: The pair group.
        pairs: The pairs of the group, at least one.

    Raises:
        KeyError: If a cell has no result.
    """
    names, steps = iterates.names, iterates.steps
    picked = [_best(half, names, pairs) for half in halves]
    overfit = _from_best_to_last(halves, names, picked, pairs)
    sources = {source for source, _ in pairs}
    own = [pair for pair in pairs_of(sample.results, "diagonal") if pair[0] in sources]
    source = None
    if own:
        last = names[-1]
        gap = total([(1, drops(sample, last, own)), (-1, drops(sample, last, pairs))])
        change = _from_best_to_last(halves, names, picked, own)
        source = OnSource(
            last=sample.mean(last, own),
            change=interval_of(sample.design, change),
            share=_share(sample.design, overfit, gap),
        )
    return Curve(
        attack=iterates.attack,
        score=iterates.score,
        group=group,
        values=tuple(sample.mean(name, pairs) for name in names),
        overfit=interval_of(sample.design, overfit),
        best=(steps[picked[0]], steps[picked[1]]),
        last=steps[-1],
        source=source,
    )


def _share(design: Design, part: Values, whole: Values) -> Interval | None:
    """Return a part in percent of a whole, or None if the whole is not above 0 beyond noise."""
    if not interval_of(design, whole).low > 0:
        return None
    wholes = [np.where(values == 0, np.nan, values) for values in whole]
    shares = [100 * ours / theirs for ours, theirs in zip(part, wholes, strict=True)]
    return interval_of(design, shares)


def _best(half: Resampled, names: Sequence[str], pairs: Sequence[Pair]) -> int:
    """Return the position of the iterate with the lowest metric on a half of the images."""
    return int(np.argmin([half.values(name, pairs)[0][0] for name in names]))


def _from_best_to_last(
    halves: tuple[Resampled, Resampled],
    names: Sequence[str],
    picked: Sequence[int],
    pairs: Sequence[Pair],
) -> Values:
    """Return the metric after the last step minus the metric after the other half's best step."""
    terms: list[Term] = []
    for half, best in zip(halves, reversed(picked), strict=True):
        terms.append((0.5, half.values(names[-1], pairs)))
        terms.append((-0.5, half.values(names[best], pairs)))
    return total(terms)
