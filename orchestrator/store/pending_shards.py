"""Shards of a new plan, held in memory until the plan is accepted."""

from segtransfer.store.store import Store
from segtransfer.tasks.data.shards import Shard

MOST_HELD_BYTES = 2**26  # of shards that are held in memory


class PendingShards:
    """A buffer of shards that delays writing, so that a refused plan leaves the store unchanged.

    At most 64 MiB are held. The shards of a larger data set are written while the plan is made;
    ``store gc`` deletes shards without an experiment.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: list[Shard] = []
        self._nbytes = 0

    def add(self, shard: Shard) -> None:
        """Hold a shard, and write all held shards if they exceed ``MOST_HELD_BYTES``.

        Raises:
            StoreError: The store cannot be written.
        """
        self._held.append(shard)
        self._nbytes += shard.nbytes
        if self._nbytes > MOST_HELD_BYTES:
            self.write()

    def write(self) -> None:
        """Write all held shards to the store.

        Raises:
            StoreError: The store cannot be written.
        """
        for shard in self._held:
            self._store.put_shard(shard)
        self._held, self._nbytes = [], 0
