"""Sums and differences of statistics, on the same resampled images."""

from collections.abc import Sequence

from segtransfer.results import Results
from segtransfer.statistics import Design, Interval, Pair, Resampled
from segtransfer.statistics.intervals import interval_of
from segtransfer.statistics.resampled import Values

Term = tuple[float, Values]


def combine(design: Design, terms: Sequence[Term]) -> Interval:
    """Return the interval of a weighted sum of statistics that share a design."""
    return interval_of(design, total(terms))


def total(terms: Sequence[Term]) -> Values:
    """Return a weighted sum of statistics on every resample."""
    by_factor = zip(*(values for _, values in terms), strict=True)
    weights = [weight for weight, _ in terms]
    return [
        sum((w * part for w, part in zip(weights, parts, strict=True)), 0 * parts[0])
        for parts in by_factor
    ]


def mean(values: Sequence[Values]) -> Values:
    """Return the mean of statistics on every resample."""
    return total([(1 / len(values), part) for part in values])


def drops(sample: Resampled, attack: str, pairs: Sequence[Pair]) -> Values:
    """Return the mean drop in mIoU over pairs, in points, on every resample."""
    return sample.values(attack, pairs, "drop")


def gain(sample: Resampled, attack: str, baseline: str, pairs: Sequence[Pair]) -> Interval:
    """Return the drop under an attack minus the drop under its baseline, in points."""
    return sample.difference(attack, baseline, pairs, "drop")


def is_transfer(results: Results, source: str, target: str) -> bool:
    """Return whether a pair measures transfer: it is not white-box."""
    return results.group(source, target) != "diagonal"
