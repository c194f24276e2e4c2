"""Weighted sums of statistics on the same resampled images."""

from collections.abc import Sequence

import numpy as np

from segtransfer.results import Results
from segtransfer.statistics import Design, Interval, Pair, Resampled
from segtransfer.statistics.intervals import interval_of
from segtransfer.statistics.resampled import Values

Term = tuple[float, Values]


def combine(design: Design, terms: Sequence[Term]) -> Interval:
    """Return the interval of a weighted sum of statistics that share a design.

    Args:
        design: The design of the resamples.
        terms: Pairs of a weight and the statistic's values per factor.

    Returns:
        The 95 % interval, in the unit of the statistics.
    """
    return interval_of(design, total(terms))


def total(terms: Sequence[Term]) -> Values:
    """Return a weighted sum of statistics on every resample.

    Args:
        terms: Pairs of a weight and values, per factor an array of equal shapes; at least one pair.

    Returns:
        Per factor the sum, of the shape of the values.
    """
    by_factor = zip(*(values for _, values in terms), strict=True)
    weights = [weight for weight, _ in terms]
    return [
        sum((w * part for w, part in zip(weights, parts, strict=True)), 0 * parts[0])
        for parts in by_factor
    ]


def mean(values: Sequence[Values]) -> Values:
    """Return the mean of statistics on every resample.

    Args:
        values: The statistics, at least one, each with an array per factor.

    Returns:
        Per factor the mean, of the shape of the values.
    """
    return total([(1 / len(values), part) for part in values])


def percentage(design: Design, part: Values, whole: Values) -> Interval:
    """Return the interval of a statistic in percent of another with the same design.

    Args:
        design: The design of the resamples.
        part: The values per factor.
        whole: The values of 100 %, in the unit of ``part``; 0 gives NaN.

    Returns:
        The 95 % interval in percent.
    """
    wholes = [np.where(values == 0, np.nan, values) for values in whole]
    return interval_of(design, [100 * a / b for a, b in zip(part, wholes, strict=True)])


def drops(sample: Resampled, attack: str, pairs: Sequence[Pair]) -> Values:
    """Return the mean drop in the headline metric over pairs on every resample.

    Returns:
        Per factor R + 1 values in percentage points; row 0 is the drop itself.

    Raises:
        ValueError: If there are no pairs.
        KeyError: If a cell has no result.
    """
    return sample.values(attack, pairs, "drop")


def gain(sample: Resampled, attack: str, baseline: str, pairs: Sequence[Pair]) -> Interval:
    """Return the interval of the drop under an attack minus the drop under its baseline.

    Returns:
        The difference in percentage points, with its 95 % interval and p-value.

    Raises:
        ValueError: If there are no pairs.
        KeyError: If a cell has no result.
    """
    return sample.difference(attack, baseline, pairs, "drop")


def is_transfer(results: Results, source: str, target: str) -> bool:
    """Return whether a pair measures transfer: its target shares no network with the source."""
    return results.group(source, target) != "diagonal"
