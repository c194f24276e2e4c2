"""The store: every committed result under its key, in a folder or a bucket."""

from segtransfer.store.arrays import Evaluation
from segtransfer.store.rows import CommitRow
from segtransfer.store.store import Blob, Store

__all__ = ["Blob", "CommitRow", "Evaluation", "Store"]
