"""Upkeep of a store: verify it, merge others into it, compact its rows, collect its garbage.

All four may run beside drivers that write, and may be stopped at any moment.
"""

from segtransfer.upkeep.compact import CompactReport, compact
from segtransfer.upkeep.gc import Garbage, GarbageReport, find_garbage, remove_garbage
from segtransfer.upkeep.merge import MergeReport, merge
from segtransfer.upkeep.reading import open_existing
from segtransfer.upkeep.verify import Finding, VerifyReport, verify

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
