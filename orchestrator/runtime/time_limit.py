"""The time limit of a run or search."""

import time

from segtransfer.results.results import Stopped


class TimeLimit:
    """The hours of a run or search, which begin with this object.

    Args:
        max_hours: Hours from now on, or None for no limit.

    Attributes:
        stopped: The reason that ended the run before its work was done, or an empty string.
    """

    def __init__(self, max_hours: float | None) -> None:
        self._end = None if max_hours is None else time.monotonic() + 3600 * max_hours
        self.stopped: Stopped = ""

    def time_is_up(self) -> bool:
        """Return whether the run has to stop, and set `stopped` to "hours" if its hours are over.

        Returns:
            True also if another reason, for example SIGTERM, was set before.
        """
        if self._end is not None and time.monotonic() > self._end:
            self.stopped = "hours"
        return bool(self.stopped)
