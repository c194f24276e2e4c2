"""Uncertainty: intervals and paired differences from stored per-image counts."""

from orchestrator.statistics.design import Design, Pair, design_of, pairs_of, schedules_of
from orchestrator.statistics.intervals import Interval, holm
from orchestrator.statistics.resampled import Resampled

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
