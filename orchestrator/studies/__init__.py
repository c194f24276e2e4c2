"""Studies: prepared experiments that answer a question, for anyone's models."""

from dataclasses import dataclass
from typing import Any

from segtransfer.errors import InputError
from segtransfer.results import Results
from segtransfer.statistics import Resampled
from segtransfer.studies import ablation, eps, heads, object_size, overfitting, scales, twins
from segtransfer.studies.base import Base, read_base, split_base
from segtransfer.studies.study import CLAIMS, Study
from segtransfer.tasks.schema import suggest

__all__ = [
    "CLAIMS",
    "STUDIES",
    "Base",
    "Study",
    "StudyResult",
    "find_study",
    "look",
    "read_base",
    "split_base",
]

STUDIES: dict[str, Study[Any]] = {
    module.STUDY.name: module.STUDY
    for module in (overfitting, scales, twins, heads, object_size, ablation, eps)
}


@dataclass(frozen=True)
class StudyResult:
    """What a study found: its numbers, and the paragraph that they make."""

    study: Study[Any]
    results: Results
    numbers: Any
    paragraph: str


def find_study(name: str) -> Study[Any]:
    """A study by its name; raises InputError with a suggestion where there is none."""
    if name not in STUDIES:
        raise InputError(f"unknown study '{name}': {suggest(name, STUDIES)}")
    return STUDIES[name]


def look(study: Study[Any], base: Base, results: Results) -> StudyResult:
    """Take a study's numbers from its results, which must be whole."""
    numbers = study.findings(Resampled(results), base)
    return StudyResult(study, results, numbers, study.paragraph(numbers))
