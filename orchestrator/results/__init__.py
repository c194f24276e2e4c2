"""Results: the stored confusion matrices of an experiment as transfer matrices."""

from segtransfer.experiment.task import MatrixIndex
from segtransfer.results.loading import assemble, load_results, results_of, results_read
from segtransfer.results.measured import ALL_METRICS, CONFUSION_METRICS, DERIVED
from segtransfer.results.pairs import PAIR_GROUPS, pair_group
from segtransfer.results.results import Results
from segtransfer.results.warnings import ResultWarning

__all__ = [
    "ALL_METRICS",
    "CONFUSION_METRICS",
    "DERIVED",
    "PAIR_GROUPS",
    "MatrixIndex",
    "ResultWarning",
    "Results",
    "assemble",
    "load_results",
    "pair_group",
    "results_of",
    "results_read",
]
