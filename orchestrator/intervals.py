"""Intervals by the bootstrap, from stored per-image confusion matrices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.results import Results
from tasks.metrics import miou
from tasks.randomness import schedule_group

Pair = tuple[str, str]  # source, target


@dataclass(frozen=True)
class Interval:
    """A value and the bounds of its interval, in percentage points."""

    value: float
    low: float
    high: float


def image_weights(clusters: Sequence[int], resamples: int, seed: int) -> np.ndarray:
    """How often each image counts, float64 resamples x images; row 0 counts each once.

    Images of one cluster are not independent: clusters are drawn with replacement, not images.
    """
    names, members = np.unique(np.asarray(clusters), return_inverse=True)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(names), [1 / len(names)] * len(names), size=resamples)
    return np.vstack([np.ones(len(members)), drawn[:, members]])


def pairs_of(results: Results, group: str) -> list[Pair]:
    """The pairs of source and target that a headline group has."""
    return [
        (source, target)
        for source in results.sources
        for target in results.targets
        if results.group(source, target) == group
    ]


def mean_miou(
    results: Results, attack: str, pairs: Sequence[Pair], weights: np.ndarray
) -> np.ndarray:
    """Mean mIoU in percent over pairs of source and target, a value a row of ``weights``.

    Raises KeyError where a cell is missing, ValueError where there is no pair.
    """
    if not pairs:
        raise ValueError("there is no pair of source and target to take a mean of")
    sourced = results.needs_source(attack)
    values = []
    for source, target in pairs:
        confusions = results.confusions[attack, source if sourced else None, target]
        classes = confusions.shape[-1]
        sums = weights @ confusions.reshape(len(confusions), -1).astype(np.float64)
        values.append(np.asarray(miou(sums.reshape(-1, classes, classes))))
    return np.mean(values, axis=0)


def paired_difference(
    results: Results,
    attack: str,
    baseline: str,
    pairs: Sequence[Pair],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean mIoU under ``attack`` less that under ``baseline``, on the same resampled images.

    Clusters are the schedule groups: images that share their scales. Negative where ``attack``
    fools more. The interval covers ``level``: for k comparisons at once, 1 - 0.05 / k.
    """
    groups = results.content["spec"]["schedule_groups"]
    clusters = [schedule_group(image_id, groups) for image_id in results.image_ids]
    weights = image_weights(clusters, resamples, seed)
    difference = mean_miou(results, attack, pairs, weights) - mean_miou(
        results, baseline, pairs, weights
    )
    tail = 50 * (1 - level)
    low, high = np.percentile(difference[1:], [tail, 100 - tail])
    return Interval(float(difference[0]), float(low), float(high))
