"""Sums and differences of what was measured, on the same resampled images."""

from collections.abc import Sequence

from segtransfer.results import Results
from segtransfer.statistics import Design, Interval, Pair, Resampled
from segtransfer.statistics.intervals import interval_of
from segtransfer.statistics.resampled import Values

Term = tuple[float, Values]


def combine(design: Design, terms: Sequence[Term]) -> Interval:
    """The weighted sum of statistics that share a design."""
    return interval_of(design, total(terms))


def total(terms: Sequence[Term]) -> Values:
    """The weighted sum itself, on every resample."""
    by_factor = zip(*(values for _, values in terms), strict=True)
    weights = [weight for weight, _ in terms]
    return [
        sum((w * part for w, part in zip(weights, parts, strict=True)), 0 * parts[0])
        for parts in by_factor
    ]


def mean(values: Sequence[Values]) -> Values:
    return total([(1 / len(values), part) for part in values])


def drops(sample: Resampled, attack: str, pairs: Sequence[Pair]) -> Values:
    """The mean drop in mIoU over pairs."""
    return sample.values(attack, pairs, "drop")


def gain(sample: Resampled, attack: str, baseline: str, pairs: Sequence[Pair]) -> Interval:
    """How many points more an attack takes than its baseline: positive where it fools more."""
    return sample.difference(attack, baseline, pairs, "drop")


def apart(results: Results, source: str, target: str) -> bool:
    """Whether the pair is one of transfer, not white-box."""
    return results.group(source, target) != "diagonal"
