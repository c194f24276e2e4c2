"""Upkeep of a store: verify it, merge others into it, compact its rows, collect its garbage.

All four may run beside drivers that write, and may be stopped at any moment.
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
