"""Studies: prepared experiments that answer a question, for any models."""

from segtransfer.studies.base import BaseExperiment, read_base, split_base
from segtransfer.studies.registry import (
    STUDIES,
    IncompleteStudyError,
    StudyResult,
    conclude,
    find_study,
)
from segtransfer.studies.study import CLAIMS, Study

__all__ = [
    "CLAIMS",
    "STUDIES",
    "BaseExperiment",
    "IncompleteStudyError",
    "Study",
    "StudyResult",
    "conclude",
    "find_study",
    "look",
    "read_base",
    "split_base",
]
