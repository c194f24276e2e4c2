"""Maintenance of a store: verify, merge, compact, and garbage collection.

All four may run beside writing drivers, and may be stopped at any moment.
"""

from segtransfer.store.maintenance.compact import CompactReport, compact
from segtransfer.store.maintenance.gc import Garbage, GarbageReport, find_garbage, remove_garbage
from segtransfer.store.maintenance.merge import MergeReport, merge
from segtransfer.store.maintenance.reading import open_existing
from segtransfer.store.maintenance.verify import Finding, VerifyReport, verify

__all__ = [
    "CompactReport",
    "Finding",
    "Garbage",
    "GarbageReport",
    "MergeReport",
    "VerifyReport",
    "compact",
    "find_garbage",
    "merge",
    "open_existing",
    "remove_garbage",
    "verify",
]
