"""A comparison as people see it: tables, heat maps, Markdown and the folder that holds them."""

import io
from pathlib import Path

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from segtransfer.comparison import Comparison, compare_results
from segtransfer.reporting.comparison import (
    markdown,
    overview,
    print_comparison,
    write_comparison,
)
from segtransfer.reporting.comparison_layout import MEAN_LABELS, lay_out
from segtransfer.reporting.difference_figures import draw_differences
from segtransfer.results.text import signed_interval
from tests.orchestrator.comparison.runs import run_of

BASE = [10, 20, 30, 40]
MORE = [14, 25, 35, 46]  # 5 more on average, beyond noise


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    """B is right on 5 % fewer pixels everywhere, but for ``c -> a``, where nothing differs."""
    wrong = {(s, t): MORE for s in "abc" for t in "abc"} | {("c", "a"): BASE}
    run = run_of(tmp_path, {"pgd": BASE, "mi": wrong})
    return compare_results(run, run, [("pgd", "mi")], metric="aacc")


def printed(comparison: Comparison, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    print_comparison(comparison, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_means_are_below_and_beside_their_cells(comparison: Comparison) -> None:
    grid = lay_out(comparison, "mi")
    # A mean over the same backbone would be one cell here, and is not repeated.
    assert grid.lines == grid.columns == ["a", "b", "c", MEAN_LABELS["cross_backbone"]]
    differences = {place: row["difference"] for place, row in grid.values.items()}
    assert differences[0, 1] == comparison.matrix().loc["a", "b"]
    assert differences[2, 3] == (0 - 5) / 2  # of c to other backbones
    assert differences[3, 0] == 0  # of other backbones to a
    assert (3, 3) not in differences


def test_the_terminal_shows_every_difference_with_its_interval_marked_beyond_noise(
    comparison: Comparison,
) -> None:
    text = printed(comparison, 200)
    assert text.count("−5.00*") >= 8
    for row in comparison.frame.query("kind == 'cell'").itertuples():
        assert signed_interval(0, row.low, row.high)[6:] in text
    assert "+0.00 " in text
    assert "white-box (diagonal) −5.00* [" in text
    assert "other backbone −3.75* [" in text
    assert comparison.verdict("mi") in text.replace("\n", "")
    assert "B minus that of A, percentage points: below 0 B is the stronger attack" in text.replace(
        "\n", " "
    )


def test_a_narrow_terminal_gets_several_tables_of_whole_cells(comparison: Comparison) -> None:
    narrow = printed(comparison, 80)
    assert max(map(len, narrow.splitlines()), default=0) <= 80
    assert narrow.count("source \\ target") == 2
    assert narrow.count("−5.00*") == printed(comparison, 200).count("−5.00*")


def test_the_figure_writes_every_difference_on_its_colour(comparison: Comparison) -> None:
    figure = draw_differences(comparison)
    axes = figure.axes[0]
    written = [text.get_text() for text in axes.texts]
    values = [row["difference"] for row in lay_out(comparison, "mi").values.values()]
    assert written.count("−5.00*") == values.count(-5) > 8
    colours = {matplotlib.colors.to_hex(patch.get_facecolor()) for patch in axes.patches}
    assert len(colours) > 1
    key = [text.get_text() for text in figure.axes[-1].texts]
    assert key[:2] == ["−5", "+5"]


@pytest.mark.parametrize("metric", ["aacc", "wrong"])
def test_stronger_attack_b_is_green_under_every_metric(tmp_path: Path, metric: str) -> None:
    run = run_of(tmp_path, {"pgd": BASE, "mi": MORE})
    figure = draw_differences(compare_results(run, run, [("pgd", "mi")], metric=metric))
    red, green, blue, _ = figure.axes[0].patches[0].get_facecolor()
    assert green > max(red, blue)


def test_a_missing_difference_is_a_dash_on_grey(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"pgd": {("a", "a"): BASE}, "mi": MORE}, models=("a", "b"))
    comparison = compare_results(run, run, [("mi", "pgd")])
    axes = draw_differences(comparison).axes[0]
    assert "–" in [text.get_text() for text in axes.texts]
    assert "–" in printed(comparison, 100)
    assert "| – |" in markdown(comparison)


def test_markdown_differences_beyond_noise_are_bold(comparison: Comparison) -> None:
    text = markdown(comparison)
    assert text.count("| **−5.00** [") >= 8
    assert "| +0.00 [+0.00, +0.00] |" in text
    assert "other backbone **−3.75** [" in text
    assert comparison.verdict("mi") in text
    for note in comparison.notes:
        assert f"- {note}" in text


def test_several_attacks_have_a_table_and_a_figure_each(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"noise": BASE, "pgd": MORE})
    comparison = compare_results(run, run, [("noise", "noise"), ("pgd", "pgd")])
    assert markdown(comparison).count("### ") == 2
    assert markdown(comparison, "noise").startswith(f"**{comparison.verdict('noise')}**")
    assert comparison.verdict("pgd") not in markdown(comparison, "noise")
    assert [comparison.verdict(name) in overview(comparison) for name in ("noise", "pgd")] == [
        True
    ] * 2
    titles = [axes.texts[0].get_text() for axes in draw_differences(comparison).axes]
    assert titles[:2] == ["noise", "pgd"]


def test_the_folder_holds_figures_the_table_and_the_summary(
    comparison: Comparison, tmp_path: Path
) -> None:
    folder = write_comparison(comparison)
    assert folder.parent == tmp_path / "reports"
    names = {path.name for path in folder.iterdir()}
    pictures = {"differences.png", "difference-mi.png"}
    assert names == {*pictures, "differences.csv", "summary.md", "index-comparison.json"}
    with Image.open(folder / "differences.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10
    table = pd.read_csv(folder / "differences.csv")
    assert table["difference"].to_numpy() == pytest.approx(comparison.frame["difference"], abs=1e-5)
    assert table["beyond_noise"].tolist() == comparison.frame["beyond_noise"].tolist()
