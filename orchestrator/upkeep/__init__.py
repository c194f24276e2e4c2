"""Upkeep of a store: verify it, merge others into it, compact its rows, collect its garbage.

All four may run beside drivers that write, and may be stopped at any moment.
"""

from orchestrator.upkeep.compact import CompactReport, compact
from orchestrator.upkeep.gc import Garbage, GarbageReport, find_garbage, remove_garbage
from orchestrator.upkeep.merge import MergeReport, merge
from orchestrator.upkeep.reading import open_existing
from orchestrator.upkeep.verify import Finding, VerifyReport, verify

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
