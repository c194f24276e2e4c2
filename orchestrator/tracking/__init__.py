"""MLflow: one writer; what it shows is drawn from the store, and can be logged again at will.

``searches`` and ``comparisons`` log those; they are imported where there are any.
"""

from segtransfer.tracking.experiments import log_results
from segtransfer.tracking.runs import (
    LoggedRun,
    TrackingError,
    how_to_open,
    read_run,
    runs_address,
    tracking_uri,
)

__all__ = [
    "LoggedRun",
    "TrackingError",
    "how_to_open",
    "log_results",
    "read_run",
    "runs_address",
    "tracking_uri",
]
