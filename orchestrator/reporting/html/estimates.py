"""Estimates of the page: every number that depends on the chosen metric, with its interval."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

from segtransfer.results import PAIR_GROUPS, Results
from segtransfer.statistics import Interval, Resampled, holm, pairs_of
from segtransfer.tasks.image_metrics import is_offered, score_of
from segtransfer.tasks.metrics import METRICS, Score

RoundedInterval = tuple[float, float | None, float | None, bool]
"""Value, lower and upper bound in percent with one decimal (bounds None if there is no interval),
and whether a difference is beyond noise."""

IntervalsByMetric = Mapping[str, Sequence[RoundedInterval | None]]
"""Per metric, the interval of every estimate by its index; None if a cell is missing."""


MOST_INTERVALS = 1024  # cells of a matrix; cells of a larger matrix have no interval on the page


class Estimates:
    """Registry of estimates. Each method registers an estimate and returns its index.

    The page refers to estimates by index, so a change of metric changes values only. Values are
    those of the results, as on every surface; resamples give the bounds.
    """

    def __init__(self, results: Results, sample: Resampled) -> None:
        self._results = results
        self._sample = sample
        self._matrix = cache(results.matrix)
        self._values = cache(self._values_of)
        self._headlines = cache(results.headlines)
        self._clean = cache(results.clean)
        self._pairs = {group: pairs_of(results, group) for group in PAIR_GROUPS}
        self._many = len(results.sources) * len(results.targets) > MOST_INTERVALS
        self._registered: list[Callable[[str], Interval]] = []
        self._differences: set[int] = set()

    def cell(self, attack: str, source: str, target: str) -> int:
        """Register a cell of a transfer matrix.

        Args:
            attack: The name of an attack's variant.
            source: The source model.
            target: The target model.

        Returns:
            The index of the estimate.
        """

        def cell(metric: str) -> Interval:
            value = self._values(attack, metric)[source, target]
            if self._many:
                return Interval(value, math.nan, math.nan)
            return replace(self._sample.cell(attack, source, target, metric), value=value)

        return self._register(cell)

    def clean(self, target: str) -> int:
        """Register a target's value on the clean images.

        Args:
            target: The target model.

        Returns:
            The index of the estimate. Its value is 0 for metrics relative to the clean images.
        """

        def clean(metric: str) -> Interval:
            if metric in ("drop", "ratio", "fooling"):  # relative to the clean images themselves
                return Interval(0.0, 0.0, 0.0)
            interval = self._sample.clean(target, metric)
            return replace(interval, value=float(self._clean(metric)[target]))

        return self._register(clean)

    def mean(self, attack: str, group: str) -> int | None:
        """Register the mean over a headline group; None if the group has no pair.

        Args:
            attack: The name of an attack's variant.
            group: A headline group of pairs.

        Returns:
            The index of the estimate, or None.
        """
        pairs = self._pairs[group]

        def mean(metric: str) -> Interval:
            interval = self._sample.mean(attack, pairs, metric)
            return replace(interval, value=self._headlines(attack, metric)[group])

        return self._register(mean) if pairs else None

    def difference(self, attack: str, baseline: str, group: str) -> int | None:
        """Register the paired difference of two attacks over a group; None without a pair.

        Args:
            attack: The attack to subtract from.
            baseline: The subtracted attack.
            group: A headline group of pairs.

        Returns:
            The index of the estimate, or None.
        """
        pairs = self._pairs[group]
        if not pairs:
            return None
        self._differences.add(len(self._registered))
        return self._register(lambda m: self._sample.difference(attack, baseline, pairs, m))

    @property
    def notes(self) -> tuple[str, ...]:
        """Return a sentence if cells have no interval because of their number."""
        if not self._many:
            return ()
        return (f"Cells of matrices of more than {MOST_INTERVALS:,} cells have no interval.",)

    def intervals(self) -> dict[str, list[RoundedInterval | None]]:
        """Return the intervals of all registered estimates, per metric and by index.

        Holm's correction covers all differences of a metric.
        """
        return {metric: self._of(metric) for metric in metric_choices(self._results.headline)}

    def _values_of(self, attack: str, metric: str) -> dict[tuple[str, str], float]:
        """Return the values of a matrix by source and target; pandas is slow cell by cell."""
        matrix = self._matrix(attack, metric)
        rows = zip(matrix.index, matrix.to_numpy().tolist(), strict=True)
        return {(s, t): value for s, row in rows for t, value in zip(matrix, row, strict=True)}

    def _register(self, estimate: Callable[[str], Interval]) -> int:
        self._registered.append(estimate)
        return len(self._registered) - 1

    def _of(self, metric: str) -> list[RoundedInterval | None]:
        intervals = [_or_none(estimate, metric) for estimate in self._registered]
        family = {index: intervals[index] for index in sorted(self._differences)}
        known = {index: interval for index, interval in family.items() if interval is not None}
        rejected = holm([interval.p for interval in known.values()])
        beyond = {index for index, is_rejected in zip(known, rejected, strict=True) if is_rejected}
        return [
            None if interval is None else rounded(interval, index in beyond)
            for index, interval in enumerate(intervals)
        ]


def metric_choices(headline: str) -> dict[str, Score]:
    """Return the metrics that the page offers by name, the headline metric first.

    Args:
        headline: The experiment's headline metric.
    """
    shown = [name for name in METRICS if METRICS[name].shown and is_offered(name, headline)]
    return {name: score_of(name, headline) for name in dict.fromkeys([headline, *shown])}


def rounded(interval: Interval, beyond_noise: bool = False) -> RoundedInterval:
    """Return an interval as printed: rounding once makes table, chart and text agree.

    Args:
        interval: The interval, in percent; NaN bounds mean no interval.
        beyond_noise: Whether a difference is beyond noise.
    """
    low, high = (
        None if math.isnan(bound) else tenth(bound) for bound in (interval.low, interval.high)
    )
    return tenth(interval.value), low, high, beyond_noise


def tenth(value: float) -> float:
    """Return a value with one decimal, never minus zero."""
    return float(f"{value:.1f}") + 0.0


def percent(value: float | None) -> float | None:
    """Return a value with one decimal, or None for NaN."""
    return None if value is None or math.isnan(value) else tenth(value)


def _or_none(estimate: Callable[[str], Interval], metric: str) -> Interval | None:
    """Return an estimate's interval, or None if a cell is missing or the value is NaN."""
    try:
        interval = estimate(metric)
    except KeyError:
        return None
    return None if math.isnan(interval.value) else interval


def spread(intervals: Sequence[RoundedInterval | None]) -> tuple[float, float] | None:
    """Return the least and greatest value or bound of intervals; None if there is none.

    Returns:
        The least and the greatest number in percent, or None without a value.
    """
    bounds = [b for interval in intervals if interval for b in interval[:3] if b is not None]
    return (min(bounds), max(bounds)) if bounds else None
