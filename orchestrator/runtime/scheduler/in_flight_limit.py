"""The byte budget: AEs that are being made, or are made and await scoring."""

from segtransfer.experiment.task import Task


class InFlightLimit:
    """Bytes held by attacks. They stay within ``limit``, but that one attack may always run.

    Once an attack does not fit, none begins before that one would: small attacks cannot keep a
    large one waiting for ever. AEs read back from the store are not counted here.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._held: dict[str, int] = {}  # attack key -> bytes
        self._wanted = 1  # what the next attack needs, as far as known

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def full(self) -> bool:
        """Whether every attack has to wait."""
        return self.bytes > 0 and self.bytes + self._wanted > self.limit

    def fits(self, task: Task) -> bool:
        """Whether this attack may begin; if not, the others wait for it."""
        if self.bytes > 0 and self.bytes + task.nbytes > self.limit:
            self._wanted = max(1, task.nbytes)
            return False
        return True

    def hold(self, task: Task) -> None:
        self._wanted = 1
        self.release(task.key)
        self._held[task.key] = task.nbytes
        self.bytes += task.nbytes

    def release(self, key: str) -> None:
        self.bytes -= self._held.pop(key, 0)
