"""The registry of studies, and the conclusion of a study."""

from dataclasses import replace

import pytest

from segtransfer.errors import InputError
from segtransfer.studies import CLAIMS, STUDIES, IncompleteStudyError, conclude, find_study
from tests.orchestrator.studies.made_up import RIGHT, base_of, results_of


def test_studies_are_found_by_name() -> None:
    assert list(STUDIES) == [
        "ablation", "eps", "heads", "jitter", "object-size", "overfitting", "rivals", "scales",
        "twins",
    ]  # fmt: skip
    assert find_study("heads") is STUDIES["heads"]
    with pytest.raises(InputError, match="unknown study 'head'; did you mean 'heads'"):
        find_study("head")
    assert list(CLAIMS) == ["A1", "A2", "A3", "A4", "A5", "A6"]


def test_conclusion_of_incomplete_results_raises_an_error_with_the_results() -> None:
    study, base = STUDIES["eps"], base_of()
    whole = results_of(study.experiment(base), lambda attack, source, target: RIGHT)
    assert conclude(study, base, whole).study is study
    partial = replace(whole, missing=frozenset({"key"}), failures={"key": "it failed"})
    with pytest.raises(IncompleteStudyError, match="1 tasks have no result") as caught:
        conclude(study, base, partial)
    assert caught.value.results is partial
