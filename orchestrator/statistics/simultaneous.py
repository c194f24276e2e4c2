"""Simultaneous intervals of all differences between several means, and ranks from them.

The intervals use Tukey's studentised range, with a variance of its own per difference. The range is
simulated from independent normal means, which are the least correlated and therefore the least
favourable. So the joint coverage of correlated means, as of attacks on the same images, is at least
the wanted coverage. If scenes and draws cross, their variances are added, and the variance of both
together is not subtracted: the errors of a difference of variances would narrow far quantiles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations, compress

import numpy as np
from scipy import stats

from segtransfer.statistics.design import Design
from segtransfer.statistics.intervals import Interval, interval_of

SIMULATED = 20_000  # sets of means; the family-wise level then has a standard error of 0.15 %
MOST_CLUSTERS = 200  # of the simulation; more clusters barely narrow the intervals
NUMBERS_AT_ONCE = 4_000_000  # normal draws in memory
DETECTED = 0.8  # power of the smallest detectable difference

Differences = dict[tuple[str, str], Interval]


@cache
def pair_level(means: int, clusters: int, level: float = 0.95) -> float:
    """Return the coverage of each interval for a joint coverage of the intervals of all pairs.

    Args:
        means: The number k of means, at least 2.
        clusters: The number G of independent, equal clusters behind every mean, at least 2.
        level: The joint coverage of all k (k - 1) / 2 intervals, a fraction.

    Returns:
        The coverage of an interval by Student's t with G - 1 degrees of freedom: ``level`` itself
        for two means, nearer to 1 for more.
    """
    if means == 2:
        return level
    freedom = min(clusters, MOST_CLUSTERS) - 1
    generator = np.random.default_rng(0)
    largest: list[np.ndarray] = []
    left, part = SIMULATED, max(1, NUMBERS_AT_ONCE // (means * max(freedom, means)))
    while left > 0:
        size = min(left, part)
        largest.append(_largest(generator, size, means, freedom))
        left -= size
    critical = float(np.quantile(np.concatenate(largest), level))
    return 1 - 2 * float(stats.t.sf(critical, freedom))


def _largest(generator: np.random.Generator, size: int, means: int, freedom: int) -> np.ndarray:
    """Return the largest |t| of all pairs in each of some simulated sets of equal means."""
    centres = generator.standard_normal((size, means))
    errors = generator.standard_normal((size, freedom, means))
    covariance = errors.transpose(0, 2, 1) @ errors / freedom
    own = np.einsum("sii->si", covariance)
    variance = own[:, :, None] + own[:, None, :] - 2 * covariance
    distance = (centres[:, :, None] - centres[:, None, :]) ** 2
    first, second = np.triu_indices(means, 1)
    return np.sqrt((distance[:, first, second] / variance[:, first, second]).max(axis=1))


def level_of(design: Design, means: int, level: float = 0.95) -> float:
    """Return ``pair_level`` for means on the images of a design.

    Args:
        design: The design; its clustering of the fewest degrees of freedom counts, rounded down.
        means: The number of means.
        level: The joint coverage of all intervals, a fraction.

    Returns:
        The coverage of each interval; ``level`` for fewer than two means or clusters.
    """
    freedom = int(_freedom(design))
    return level if means < 2 or freedom < 1 else pair_level(means, freedom + 1, level)


def all_differences(
    design: Design, values: Mapping[str, Sequence[np.ndarray]], level: float = 0.95
) -> Differences:
    """Return the interval of every difference of two means, with a joint coverage.

    Args:
        design: The design of the R resamples.
        values: Per mean and factor, R + 1 values; row 0 is the mean itself.
        level: The joint coverage of all intervals, a fraction.

    Returns:
        The interval of the first mean minus the second, by both names, in the order of ``values``.
        ``beyond_noise`` is then a finding with a family-wise error rate of 1 - ``level``.
    """
    covered = level_of(design, len(values), level)
    added = [factor.sign > 0 for factor in design.factors]
    summed = replace(design, factors=tuple(compress(design.factors, added)))
    kept = {name: list(compress(of_mean, added)) for name, of_mean in values.items()}
    return {
        (one, other): interval_of(
            summed, [a - b for a, b in zip(kept[one], kept[other], strict=True)], covered
        )
        for one, other in combinations(values, 2)
    }


def ranks(names: Sequence[str], differences: Differences) -> dict[str, int]:
    """Return the rank of every mean: 1 plus the number of larger means, beyond noise.

    Args:
        names: The names of the means.
        differences: The intervals of all pairs, as from ``all_differences``.

    Returns:
        The ranks by name. Means without a difference beyond noise share a rank, unless a third
        can be told from only one of them.
    """
    larger = dict.fromkeys(names, 0)
    for (one, other), difference in differences.items():
        if difference.beyond_noise:
            larger[other if difference.value > 0 else one] += 1
    return {name: 1 + count for name, count in larger.items()}


def detectable_differences(
    design: Design, differences: Differences, level: float = 0.95
) -> np.ndarray:
    """Return the smallest detectable difference of every pair, at a power of 80 %.

    Args:
        design: The design of the differences.
        differences: The intervals of all pairs, as from ``all_differences``.
        level: The joint coverage of all intervals, a fraction.

    Returns:
        A value per pair with an interval, in the unit of the means; empty if no difference could be
        detected, because there is a single schedule or cluster.
    """
    freedom = _freedom(design)
    if design.one_schedule or freedom < 1:
        return np.zeros(0)
    names = {name for pair in differences for name in pair}
    covered = level_of(design, len(names), level)
    bound, power = stats.t.ppf([(1 + covered) / 2, DETECTED], freedom)
    halves = np.array([(d.high - d.low) / 2 for d in differences.values()])
    return halves[~np.isnan(halves)] * (1 + power / bound)


def _freedom(design: Design) -> float:
    """Return the degrees of freedom of the clustering with the fewest."""
    return min(factor.freedom for factor in design.factors)
