"""Studies: prepared experiments that answer a question, for anyone's models."""

from segtransfer.studies.base import Base, read_base, split_base
from segtransfer.studies.registry import (
    STUDIES,
    IncompleteStudyError,
    StudyResult,
    find_study,
    look,
)
from segtransfer.studies.study import CLAIMS, Study

__all__ = [
    "CLAIMS",
    "STUDIES",
    "Base",
    "IncompleteStudyError",
    "Study",
    "StudyResult",
    "find_study",
    "look",
    "read_base",
    "split_base",
]
