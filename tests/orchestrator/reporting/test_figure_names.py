"""Figures of names that a user may give: signs of mathematics, and very long names."""

import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.results import Results
from tests.orchestrator.toy_experiments import run_toy, toy, write_images

MATHS = r"$\frac$"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Results of data whose folder and classes have signs of mathematics in their names."""
    folder = tmp_path_factory.mktemp("maths")
    data = write_images(folder / MATHS)
    classes = [MATHS, "sky", "tree"]
    return run_toy(folder, data={"folder": str(data), "classes": classes}, attacks=["noise", "pgd"])


def test_signs_of_mathematics_are_drawn_as_written(results: Results, tmp_path: Path) -> None:
    results.plot("pgd").figure.savefig(tmp_path / "matrix.png")
    for arguments in (["report", results.store.location], ["compare", "noise", "pgd", "--store"]):
        store = [results.store.location] * (arguments[0] == "compare")
        answer = CliRunner().invoke(app, [*arguments, *store])
        assert answer.exit_code == 0, answer.output
        assert "could not be" not in answer.output


def test_names_of_60_characters_fit_into_the_figure(tmp_path: Path) -> None:
    attacks = [{"name": "pgd" + "x" * 57, "eps": "8/255", "steps": 1}]
    results = run_toy(tmp_path, models=[toy("y" * 60, seed=1), toy("b", seed=2)], attacks=attacks)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = results.plot(results.attacks[0]).figure
        figure.savefig(tmp_path / "matrix.png")
    axes = figure.axes[0]
    width, height = figure.canvas.get_width_height()
    for text in axes.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text


def test_names_in_a_script_without_a_font_are_drawn_as_boxes(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data")
    classes = ["道路", "天空", "tree"]
    results = run_toy(tmp_path, data={"folder": str(data), "classes": classes}, attacks=["pgd"])
    answer = CliRunner().invoke(app, ["report", results.store.location])
    assert answer.exit_code == 0, answer.output
    assert "could not be" not in answer.output
