"""Comparison: a run or attack minus another, per cell, with intervals and a verdict."""

from segtransfer.comparison.comparison import Comparison, compare, compare_results

__all__ = ["Comparison", "compare", "compare_results"]
