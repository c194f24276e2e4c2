"""The store: every committed result under its key, in a folder or a bucket."""

from orchestrator.store.arrays import Evaluation
from orchestrator.store.rows import Row
from orchestrator.store.store import Blob, Store

__all__ = ["Blob", "Evaluation", "Row", "Store"]
