"""Uncertainty: intervals and paired differences from stored per-image counts."""

from segtransfer.statistics.design import Design, Pair, design_of, pairs_of, schedules_of
from segtransfer.statistics.intervals import Interval, holm
from segtransfer.statistics.resampled import Resampled

__all__ = [
    "Design",
    "Interval",
    "Pair",
    "Resampled",
    "design_of",
    "holm",
    "pairs_of",
    "schedules_of",
]
