"""Pending retries of failed tasks: the time of each, and the slot to avoid."""

import heapq
from collections.abc import Iterator

BACK_OFF = 1.0  # seconds from a task's first failure to its retry; doubled with each failure


class Retries:
    """Exponential back-off: ``back_off`` seconds after the first failure, then twice as long, ...

    Args:
        back_off: Seconds from a task's first failure to its retry.
    """

    def __init__(self, back_off: float) -> None:
        self._back_off = back_off
        self._due: list[tuple[float, int, str]] = []  # heap: due time, number, key
        self._numbers: dict[str, int] = {}  # key -> number of its heap entry; others are stale
        self._number = 0
        self._failed_on: dict[str, str] = {}  # key -> slot of the last failure

    def add(self, key: str, slot_id: str, failures: int, now: float) -> None:
        """Schedule the retry of a failed task, in place of an earlier retry.

        Args:
            key: The task's key.
            slot_id: The slot of the failed call.
            failures: Number of failures so far, at least 1.
            now: Time of the failure in seconds.
        """
        self._failed_on[key] = slot_id
        self._number += 1
        self._numbers[key] = self._number
        due = now + self._back_off * 2 ** (failures - 1)
        heapq.heappush(self._due, (due, self._number, key))

    def due(self, now: float) -> Iterator[str]:
        """Take the tasks whose back-off is over.

        Args:
            now: Time in seconds.

        Yields:
            Keys in the order of the due times, each once per retry.
        """
        while self._due and (self._due[0][0] <= now or not self._numbers):
            _, number, key = heapq.heappop(self._due)
            if self._numbers.get(key) == number:
                del self._numbers[key]
                yield key

    def stop_waiting(self, key: str) -> None:
        """Cancel a task's retry, but keep the slot to avoid."""
        self._numbers.pop(key, None)

    def forget(self, key: str) -> None:
        """Delete the retry and the slot to avoid of a task that has ended."""
        self._numbers.pop(key, None)
        self._failed_on.pop(key, None)

    def failed_on(self, key: str) -> str | None:
        """Return the slot to avoid.

        Returns:
            The slot of the task's last failure, or None without a failure.
        """
        return self._failed_on.get(key) if self._failed_on else None
