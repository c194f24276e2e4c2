"""Lost AEs of stored attacks: the attacks to compute again, and the scores of these AEs."""

from collections.abc import Iterable

from segtransfer.store import Store
from segtransfer.store.maintenance.reading import in_threads
from segtransfer.store.reports import is_attack_report


class LostImages:
    """The stored attacks of a run whose AEs or reports are missing or damaged.

    In a folder the AEs are read and compared with their hash. In a bucket, which checks hashes
    itself, only the existence of the AEs is checked.

    Attributes:
        keys: The keys of these attacks.
    """

    def __init__(self, store: Store, attacks: Iterable[str]) -> None:
        """Check the AEs and the report of each attack.

        Args:
            store: The store.
            attacks: The keys of attacks with a stored result.
        """
        self._store = store
        attacks = sorted(attacks)
        lost = [
            key
            for key, sound in zip(attacks, in_threads(store, self._is_sound, attacks), strict=True)
            if not sound
        ]
        self.keys = frozenset(lost)
        rows = {key: store.row(key) for key in lost}
        self._hashes = {key: row.sha256 for key, row in rows.items() if row is not None}
        # Without a row, the same AEs are recognised by the path of their blob, which is their hash.
        self._blobs = set(store.files.names("blobs")) if len(self._hashes) < len(lost) else set()

    def changed(self) -> frozenset[str]:
        """Compare the AEs with those of before, after the attacks were computed again.

        Returns:
            The keys of attacks whose AEs differ, or may differ, from the lost AEs. The stored
            scores of these attacks belong to other images and have to be computed again.
        """
        rows = {key: self._store.row(key) for key in self.keys}
        return frozenset(
            key
            for key, row in rows.items()
            if row is not None
            and row.sha256 != self._hashes.get(key, row.sha256 if row.blob in self._blobs else "")
        )

    def _is_sound(self, key: str) -> bool:
        row = self._store.row(key)
        if row is None or row.kind != "attack" or not is_attack_report(row.report, 1, None):
            return False
        if self._store.remote:
            return self._store.files.info(row.blob) is not None
        return self._store.blob(row) is not None
