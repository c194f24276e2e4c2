"""The studies by name, and the findings of a study."""

import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from segtransfer.errors import InputError, SegtransferError
from segtransfer.results import Results
from segtransfer.shown import Tabled
from segtransfer.statistics import Resampled
from segtransfer.studies.base import BaseExperiment
from segtransfer.studies.study import Study
from segtransfer.tasks.schema import suggest


def _studies() -> Iterator[Study[Any]]:
    """Yield the ``STUDY`` of each module beside this one, by name."""
    modules = (
        import_module(f"{__package__}.{module.name}")
        for module in pkgutil.iter_modules([str(Path(__file__).parent)])
        if f"{__package__}.{module.name}" != __name__
    )
    found = [module.STUDY for module in modules if hasattr(module, "STUDY")]
    yield from sorted(found, key=lambda study: study.name)


STUDIES: dict[str, Study[Any]] = {study.name: study for study in _studies()}


@dataclass(frozen=True)
class StudyResult(Tabled):
    """The findings of a study.

        result = segtransfer.study("heads", "mine.yaml")
        print(result.paragraph)

    Attributes:
        study: The study.
        results: The results of the study's experiment.
        numbers: The findings: a dataclass of the study's module, with intervals in percentage
            points.
        paragraph: The findings as a paragraph, with the standing of each claim.
    """

    study: Study[Any]
    results: Results
    numbers: Any
    paragraph: str

    def __repr__(self) -> str:
        return f"<StudyResult {self.study.name} on {self.results.name}>\n{self.paragraph}"


class IncompleteStudyError(SegtransferError, RuntimeError):
    """The results of a study lack tasks.

    Attributes:
        results: The incomplete results, with ``missing`` and ``failures``.
    """

    def __init__(self, results: Results) -> None:
        super().__init__(f"{len(results.missing)} tasks have no result. Run the study again.")
        self.results = results


def find_study(name: str) -> Study[Any]:
    """Return a study by name.

    Raises:
        InputError: If the name is unknown; the message suggests a similar name.
    """
    if name not in STUDIES:
        raise InputError(f"unknown study '{name}': {suggest(name, STUDIES)}")
    return STUDIES[name]


def conclude(study: Study[Any], base: BaseExperiment, results: Results) -> StudyResult:
    """Compute the numbers and the paragraph of a study from its results.

    Args:
        study: The study.
        base: The base of the experiment.
        results: The results of the study's experiment.

    Returns:
        The findings, with 95 % intervals by cluster bootstrap over the images (2,000 resamples,
        seed 0).

    Raises:
        IncompleteStudyError: If a task has no result.
    """
    if results.missing:
        raise IncompleteStudyError(results)
    numbers = study.findings(Resampled(results), base)
    return StudyResult(study, results, numbers, study.paragraph(numbers))
