"""Tasks that failed for no fault of their own: when each may run again, and where rather not."""

import heapq
from collections.abc import Iterator


class Retries:
    """Back-off of ``back_off`` seconds after the first failure, twice that after the next, ..."""

    def __init__(self, back_off: float) -> None:
        self._back_off = back_off
        self._due: list[tuple[float, int, str]] = []  # heap: due time, number, key
        self._numbers: dict[str, int] = {}  # key -> its entry in the heap; others are stale
        self._number = 0
        self._failed_on: dict[str, str] = {}  # key -> the slot where it failed last

    def add(self, key: str, slot_id: str, failures: int, now: float) -> None:
        """A task failed on a slot, for the ``failures``-th time."""
        self._failed_on[key] = slot_id
        self._number += 1
        self._numbers[key] = self._number
        due = now + self._back_off * 2 ** (failures - 1)
        heapq.heappush(self._due, (due, self._number, key))

    def due(self, now: float) -> Iterator[str]:
        """Tasks whose wait is over, each once, in the order of their times."""
        while self._due and (self._due[0][0] <= now or not self._numbers):
            _, number, key = heapq.heappop(self._due)
            if self._numbers.get(key) == number:
                del self._numbers[key]
                yield key

    def stop_waiting(self, key: str) -> None:
        """The task waits for something else now, or for nothing."""
        self._numbers.pop(key, None)

    def forget(self, key: str) -> None:
        """The task has ended."""
        self._numbers.pop(key, None)
        self._failed_on.pop(key, None)

    def failed_on(self, key: str) -> str | None:
        """The slot that a task should rather not run on."""
        return self._failed_on.get(key) if self._failed_on else None
