"""Results: the stored confusion matrices of an experiment as transfer matrices."""

from segtransfer.experiment.manifest import FORMAT
from segtransfer.results.results import (
    ALL_METRICS,
    DERIVED,
    GROUPS,
    METRICS,
    Cell,
    Results,
    load_results,
    results_of,
)

__all__ = [
    "ALL_METRICS",
    "DERIVED",
    "FORMAT",
    "GROUPS",
    "METRICS",
    "Cell",
    "Results",
    "load_results",
    "results_of",
]
