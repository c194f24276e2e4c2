"""The ranks of attacks, from the pixel counts of every image.

An attack's score is its drop: clean mIoU minus mIoU under attack (of classifiers the accuracy), as
mean over the pairs of a source and a target of another backbone. All attacks share the images and
their resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segtransfer.statistics import Interval, Pair
from segtransfer.statistics.design import Design, design_over
from segtransfer.statistics.intervals import interval_of
from segtransfer.statistics.simultaneous import (
    Differences,
    all_differences,
    detectable_differences,
    level_of,
    ranks,
)
from segtransfer.tasks import metrics
from segtransfer.tasks.image_metrics import OF_PIXELS

LEVEL = 0.95  # of single intervals, and of all intervals of differences together
RANKED_METRIC = "drop"
RANKED_PAIRS = "cross_backbone"


@dataclass(frozen=True)
class PixelCounts:
    """The predictions of a target on N images, by K classes.

    Attributes:
        right: int64 N x K, the right pixels of each class.
        predicted: int64 N x K, the labelled pixels predicted as each class.
    """

    right: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class RankedScores:
    """The numbers from which ranks follow.

    Attributes:
        images: The ids of the N images.
        sequences: The video of each image.
        groups: The seed and the schedule group of each image.
        labelled: int64 N x K, the labelled pixels of each class.
        pairs: The pairs of a source and a target of another backbone.
        clean: The counts on the clean images by target.
        attacks: The counts by attack and pair.
        headline: The metric whose drop is ranked: ``miou``, or ``aacc`` for classifiers.
    """

    images: tuple[str, ...]
    sequences: tuple[str, ...]
    groups: tuple[tuple[int, int], ...]
    labelled: np.ndarray
    pairs: tuple[Pair, ...]
    clean: Mapping[str, PixelCounts]
    attacks: Mapping[str, Mapping[Pair, PixelCounts]]
    headline: str = OF_PIXELS


@dataclass(frozen=True)
class RankedAttack:
    """The place of an attack.

    Attributes:
        name: The name of the attack's variant.
        rank: 1 plus the number of attacks with a larger drop beyond noise.
        drop: The mean drop in percentage points, with its own 95 % interval.
        behind: The largest mean drop of all attacks minus this drop, in percentage points, with an
            interval. All such intervals of pairs hold together with a probability of 95 %.
        sources: The mean drop over the targets of each source, with its own 95 % interval.
    """

    name: str
    rank: int
    drop: Interval
    behind: Interval
    sources: Mapping[str, Interval]


@dataclass(frozen=True)
class Ranking:
    """The ranks of attacks, and the intervals behind the ranks.

    Attributes:
        attacks: The attacks by rank, then by drop.
        differences: The first attack's drop minus the second's for every pair, in percentage
            points; the intervals hold together with a probability of 95 %.
        clean: The mean clean value of the headline metric over the pairs, in percent.
        pair_level: The coverage of each of these intervals alone.
        detectable: The smallest detectable difference of a pair of attacks at a power of 80 %, in
            percentage points: the median over pairs. None if no difference is detectable.
        notes: Sentences on variation outside the intervals.
        one_schedule: Whether all images share their draws of scales; all attacks then share a rank.
    """

    attacks: tuple[RankedAttack, ...]
    differences: Differences
    clean: float
    pair_level: float
    detectable: float | None
    notes: tuple[str, ...]
    one_schedule: bool


def rank_attacks(scores: RankedScores, *, resamples: int, seed: int = 0) -> Ranking:
    """Return the ranks of attacks.

    Args:
        scores: The pixel counts, at least one attack and pair.
        resamples: The number R of resamples.
        seed: The seed of the resamples. Equal scores and seeds give equal ranks, in any order of
            attacks.
    """
    design = design_over(
        scores.images, scores.sequences, scores.groups, resamples=resamples, seed=seed
    )
    labelled = [factor.sums(scores.labelled) for factor in design.factors]

    def scored(counts: PixelCounts) -> list[np.ndarray]:
        return _scored(design, labelled, counts, scores.headline)

    clean = {target: scored(counts) for target, counts in scores.clean.items()}
    drops = {
        name: {
            pair: [a - b for a, b in zip(clean[pair[1]], scored(c), strict=True)]
            for pair, c in counts.items()
        }
        for name, counts in scores.attacks.items()
    }
    means = {name: _mean(of_pair, scores.pairs) for name, of_pair in sorted(drops.items())}
    differences = all_differences(design, means, LEVEL)
    rank = ranks(list(means), differences)
    ordered = sorted(means, key=lambda name: (rank[name], -float(means[name][0][0]), name))
    first = max(means, key=lambda name: float(means[name][0][0]))
    detectable = detectable_differences(design, differences, LEVEL)
    return Ranking(
        attacks=tuple(
            RankedAttack(
                name,
                rank[name],
                interval_of(design, means[name], LEVEL),
                _behind(differences, first, name),
                _by_source(design, drops[name], scores.pairs),
            )
            for name in ordered
        ),
        differences=differences,
        clean=float(np.mean([clean[target][0][0] for _, target in scores.pairs])),
        pair_level=level_of(design, len(means), LEVEL),
        detectable=float(np.median(detectable)) if len(detectable) else None,
        notes=design.notes,
        one_schedule=design.one_schedule,
    )


def _scored(
    design: Design, labelled: list[np.ndarray], counts: PixelCounts, metric: str
) -> list[np.ndarray]:
    """Return a metric in percent of every resample, per factor of the design."""
    score = metrics.of_margins(metric)
    return [
        np.asarray(score(factor.sums(counts.right), total, factor.sums(counts.predicted)))
        for factor, total in zip(design.factors, labelled, strict=True)
    ]


def _mean(drops: Mapping[Pair, Sequence[np.ndarray]], pairs: Sequence[Pair]) -> list[np.ndarray]:
    return [np.mean(parts, axis=0) for parts in zip(*(drops[pair] for pair in pairs), strict=True)]


def _by_source(
    design: Design, drops: Mapping[Pair, Sequence[np.ndarray]], pairs: Sequence[Pair]
) -> dict[str, Interval]:
    sources = dict.fromkeys(source for source, _ in pairs)
    return {
        source: interval_of(design, _mean(drops, [p for p in pairs if p[0] == source]), LEVEL)
        for source in sources
    }


def _behind(differences: Differences, first: str, name: str) -> Interval:
    """Return the drop of the first attack minus the drop of another; 0 for the first itself."""
    if name == first:
        return Interval(0.0, 0.0, 0.0)
    if (first, name) in differences:
        return differences[first, name]
    other = differences[name, first]
    return Interval(-other.value, -other.high, -other.low, other.p)
