"""Matrices as text: the numbers of the results, and a dash for a missing value."""

import pytest

from segtransfer.results import Results
from segtransfer.results.text import cell, markdown
from tests.orchestrator.toy_experiments import run_toy


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_toy(tmp_path_factory.mktemp("text"))


def test_markdown_says_the_drop_beside_the_value(results: Results) -> None:
    text = markdown(results, ["pgd"])
    drops = results.matrix("pgd", "drop")
    assert cell(results.matrix("pgd").loc["a", "b"], drops.loc["a", "b"]) in text
    assert text.count("\n| ") == 4  # head, clean, two sources


def test_a_cell_without_a_value_is_a_dash() -> None:
    assert cell(float("nan"), float("nan")) == "–"
    assert cell(10.0, -2.0) == "10.0 (+2.0)"
