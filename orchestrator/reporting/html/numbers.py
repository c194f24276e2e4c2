"""Every number of the page that follows the choice of metric, with its interval."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from segtransfer.results import PAIR_GROUPS, Results
from segtransfer.statistics import Interval, Resampled, holm, pairs_of


@dataclass(frozen=True)
class Metric:
    """A metric as the page names and explains it; ``lower``: low values are strong attacks."""

    name: str
    label: str
    meaning: str
    lower: bool

    @property
    def words(self) -> dict[str, str | bool]:
        return {"label": self.label, "meaning": self.meaning, "lower": self.lower}


METRICS = (
    Metric(
        "miou",
        "mIoU",
        "Intersection over union of each class, from the pixels of all images together, averaged "
        "over the classes.",
        lower=True,
    ),
    Metric("drop", "Drop", "Clean mIoU less mIoU under attack, in points.", lower=False),
    Metric(
        "ratio",
        "Transfer ratio",
        "The drop as a share of what the strongest white-box attack of the same eps takes from the "
        "same target.",
        lower=False,
    ),
    Metric(
        "fooling",
        "Fooling rate",
        "Of the pixels that are right on the clean image, the share that the attack turns wrong.",
        lower=False,
    ),
    Metric("aacc", "aAcc", "The share of labelled pixels that are right.", lower=True),
    Metric(
        "macc",
        "mAcc",
        "The share of each class's pixels that are right, averaged over the classes.",
        lower=True,
    ),
)

Figures = tuple[float, float | None, float | None, bool]
"""A value with its bounds in percent as printed, one decimal; and whether a difference is beyond
noise. Bounds are None where there is no interval."""


class Numbers:
    """Numbers by place: what is asked for first is number 0, and the page shows it by that.

    Values are those of ``sample``; missing cells give None.
    """

    def __init__(self, results: Results, sample: Resampled) -> None:
        self._results = results
        self._sample = sample
        self._pairs = {group: pairs_of(results, group) for group in PAIR_GROUPS}
        self._asked: list[Callable[[str], Interval]] = []
        self._differences: set[int] = set()

    def cell(self, attack: str, source: str, target: str) -> int:
        """A cell of a transfer matrix."""
        return self._ask(lambda metric: self._sample.cell(attack, source, target, metric))

    def clean(self, target: str) -> int:
        """A target on the clean images."""

        def clean(metric: str) -> Interval:
            if metric in ("drop", "ratio", "fooling"):  # relative to the clean images themselves
                return Interval(0.0, 0.0, 0.0)
            return self._sample.clean(target, metric)

        return self._ask(clean)

    def mean(self, attack: str, group: str) -> int | None:
        """The mean over a headline group; None where the group has no pair."""
        pairs = self._pairs[group]
        return self._ask(lambda m: self._sample.mean(attack, pairs, m)) if pairs else None

    def mean_over_targets(self, attack: str) -> int:
        """The mean over all targets, for an attack that uses no source."""
        pairs = [(self._results.sources[0], target) for target in self._results.targets]
        return self._ask(lambda metric: self._sample.mean(attack, pairs, metric))

    def difference(self, attack: str, baseline: str, group: str) -> int | None:
        """The paired difference of two attacks over a headline group."""
        pairs = self._pairs[group]
        if not pairs:
            return None
        self._differences.add(len(self._asked))
        return self._ask(lambda m: self._sample.difference(attack, baseline, pairs, m))

    def figures(self) -> dict[str, list[Figures | None]]:
        """All numbers that were asked for, by metric and place.

        Differences of one metric are one family: those beyond noise are so together.
        """
        return {metric.name: self._of(metric.name) for metric in METRICS}

    def _ask(self, estimate: Callable[[str], Interval]) -> int:
        self._asked.append(estimate)
        return len(self._asked) - 1

    def _of(self, metric: str) -> list[Figures | None]:
        found = [_or_none(estimate, metric) for estimate in self._asked]
        family = {place: found[place] for place in sorted(self._differences)}
        known = {place: interval for place, interval in family.items() if interval is not None}
        rejected = holm([interval.p for interval in known.values()])
        beyond = {place for place, real in zip(known, rejected, strict=True) if real}
        return [
            None if interval is None else as_figures(interval, place in beyond)
            for place, interval in enumerate(found)
        ]


def as_figures(interval: Interval, beyond_noise: bool = False) -> Figures:
    """An interval as it is printed: rounded once, here, so that every view shows the same."""
    low, high = (
        None if math.isnan(bound) else tenth(bound) for bound in (interval.low, interval.high)
    )
    return tenth(interval.value), low, high, beyond_noise


def tenth(value: float) -> float:
    """A value with one decimal, never minus zero."""
    return float(f"{value:.1f}") + 0.0


def percent(value: float | None) -> float | None:
    """A value with one decimal, None for NaN."""
    return None if value is None or math.isnan(value) else tenth(value)


def _or_none(estimate: Callable[[str], Interval], metric: str) -> Interval | None:
    try:
        interval = estimate(metric)
    except KeyError:
        return None  # a cell is missing
    return None if math.isnan(interval.value) else interval


def spread(rows: Sequence[Figures | None]) -> tuple[float, float] | None:
    """The lowest and highest bound of some figures; None where there is none."""
    bounds = [b for row in rows if row for b in row[:3] if b is not None]
    return (min(bounds), max(bounds)) if bounds else None
