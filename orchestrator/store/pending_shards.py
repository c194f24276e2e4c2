"""Shards of a new plan on their way into the store."""

from segtransfer.store.store import Store
from segtransfer.tasks.data.shards import Shard

MOST_HELD_BYTES = 2**26  # of shards that are held in memory


class PendingShards:
    """Shards of a plan under way, which may still be refused.

    The first are held in memory, so wrong input leaves the store as it was. The shards of a larger
    data set are written meanwhile; ``store gc`` removes shards of no experiment.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: list[Shard] = []
        self._nbytes = 0

    def add(self, shard: Shard) -> None:
        """Hold a shard; write all held shards above ``MOST_HELD_BYTES``."""
        self._held.append(shard)
        self._nbytes += shard.nbytes
        if self._nbytes > MOST_HELD_BYTES:
            self.write()

    def write(self) -> None:
        """Write all held shards to the store."""
        for shard in self._held:
            self._store.put_shard(shard)
        self._held, self._nbytes = [], 0
