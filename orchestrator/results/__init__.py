"""Results: the stored confusion matrices of an experiment as transfer matrices."""

from segtransfer.results.loading import load_results, results_of
from segtransfer.results.results import (
    ALL_METRICS,
    CONFUSION_METRICS,
    DERIVED,
    PAIR_GROUPS,
    MatrixIndex,
    Results,
)

__all__ = [
    "ALL_METRICS",
    "CONFUSION_METRICS",
    "DERIVED",
    "PAIR_GROUPS",
    "MatrixIndex",
    "Results",
    "load_results",
    "results_of",
]
