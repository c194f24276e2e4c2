"""Matrices as text: the numbers of the results, and the words for a missing value."""

import io
from pathlib import Path

import pytest

from segtransfer.cli.console import Terminal
from segtransfer.reporting.terminal import print_results
from segtransfer.results import Results
from segtransfer.results.markdown import markdown
from segtransfer.results.text import cell
from segtransfer.results.views import transfer_matrix
from tests.orchestrator.toy_experiments import run_toy


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_toy(tmp_path_factory.mktemp("text"))


def test_markdown_has_the_drop_beside_the_value(results: Results) -> None:
    text = markdown(results, ["pgd"])
    drops = results.matrix("pgd", "drop")
    assert cell(results.matrix("pgd").loc["a", "b"], drops.loc["a", "b"]) in text
    assert text.count("\n| ") == 4  # head, clean, two sources


def test_a_view_of_a_matrix_holds_the_values_of_the_results(results: Results) -> None:
    view = transfer_matrix(results, "pgd")
    assert view.clean == tuple(results.clean())
    assert [row.name for row in view.rows] == results.sources
    for source, row in zip(results.sources, view.rows, strict=True):
        for target, cell_of in zip(view.targets, row.cells, strict=True):
            assert cell_of.target == target
            assert cell_of.value == results.matrix("pgd").loc[source, target]
            assert cell_of.drop == results.matrix("pgd", "drop").loc[source, target]
            assert cell_of.white_box == (source == target)


@pytest.mark.parametrize(("steps", "words"), [(1, "1 step of "), (2, "2 steps of ")])
def test_a_single_step_is_singular(steps: int, words: str, tmp_path: Path) -> None:
    attack = {"preset": "pgd", "eps": "8/255", "steps": steps}
    view = transfer_matrix(run_toy(tmp_path, attacks=[attack]), "pgd")
    assert f", {words}" in view.settings


def test_a_cell_without_a_value_is_not_measured() -> None:
    assert cell(float("nan"), float("nan")) == "not measured"
    assert cell(10.0, float("nan")) == "10.0"  # the clean images have no result
    assert cell(10.0, -2.0) == "10.0 (+2.0)"


def test_line_wider_than_the_terminal_is_whole_in_a_file(results: Results) -> None:
    """Output to a file is neither wrapped nor cut."""
    console = Terminal(file=io.StringIO(), width=40, soft_wrap=True)
    print_results(results, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    cost = next(line for line in shown.splitlines() if line.startswith("  cost: "))
    assert len(cost) > 40
    assert cost.endswith(" s in models")
