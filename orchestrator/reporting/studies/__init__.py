"""Report of a study: a figure, a paragraph, and their numbers."""

from segtransfer.reporting.studies.report import write_study

__all__ = ["write_study"]
