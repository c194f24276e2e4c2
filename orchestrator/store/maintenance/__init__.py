"""Maintenance of a store: verify, repair, merge, compact, and garbage collection.

All five may run beside drivers that write the store, and may be killed at any moment.
"""

from segtransfer.store.maintenance.compact import CompactReport, compact
from segtransfer.store.maintenance.gc import Garbage, GarbageReport, find_garbage, remove_garbage
from segtransfer.store.maintenance.merge import MergeReport, merge
from segtransfer.store.maintenance.reading import open_existing
from segtransfer.store.maintenance.repair import Damage, find_damage, remove_damage
from segtransfer.store.maintenance.verify import Finding, VerifyReport, verify

__all__ = [
    "CompactReport",
    "Damage",
    "Finding",
    "Garbage",
    "GarbageReport",
    "MergeReport",
    "VerifyReport",
    "compact",
    "find_damage",
    "find_garbage",
    "merge",
    "open_existing",
    "remove_damage",
    "remove_garbage",
    "verify",
]
