"""The byte budget for AEs under attack and for AEs whose evaluations have not ended."""

from segtransfer.experiment.task import Task


class InFlightLimit:
    """Bytes held by attacks, within ``limit`` except for a single attack, which may always run.

    If an attack does not fit, no other attack begins before it. So small attacks cannot keep a
    large attack waiting forever. AEs read back from the store are not counted.

    Args:
        limit: The budget in bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._held: dict[str, int] = {}  # attack key -> bytes
        self._next_bytes = 1  # bytes of the next attack, as far as known

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def full(self) -> bool:
        """Return whether every attack has to wait.

        Returns:
            True if the next attack does not fit; its size counts as 1 byte until ``fits`` is asked.
        """
        return self.bytes > 0 and self.bytes + self._next_bytes > self.limit

    def fits(self, task: Task) -> bool:
        """Return whether an attack may begin; if not, the other attacks wait for it.

        Args:
            task: The attack, with ``nbytes`` of AEs.
        """
        if self.bytes > 0 and self.bytes + task.nbytes > self.limit:
            self._next_bytes = max(1, task.nbytes)
            return False
        return True

    def hold(self, task: Task) -> None:
        """Count the bytes of an attack that begins."""
        self._next_bytes = 1
        self.release(task.key)
        self._held[task.key] = task.nbytes
        self.bytes += task.nbytes

    def release(self, key: str) -> None:
        """Release the bytes of an attack, if any are held.

        Args:
            key: Key of the attack.
        """
        self.bytes -= self._held.pop(key, 0)
