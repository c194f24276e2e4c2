"""Breakdowns of results: per class, object size, boundary and interior, and outlier images."""

from segtransfer.breakdowns.registry import BREAKDOWNS, breakdown, check_breakdown
from segtransfer.breakdowns.tables import Breakdown, PartRow, PartTable

__all__ = ["BREAKDOWNS", "Breakdown", "PartRow", "PartTable", "breakdown", "check_breakdown"]
