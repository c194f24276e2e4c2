"""MLflow: runs that show stored results. Stored results can be logged again at any time.

Searches and comparisons have a module each, imported only if a search or comparison is logged.
"""

from segtransfer.tracking.experiments import log_results
from segtransfer.tracking.runs import (
    TrackingError,
    how_to_open,
    read_run,
    runs_address,
    tracking_uri,
)

__all__ = [
    "TrackingError",
    "how_to_open",
    "log_results",
    "read_run",
    "runs_address",
    "tracking_uri",
]
