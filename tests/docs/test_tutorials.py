"""Every command of a tutorial runs in its order, and prints the shown lines."""

import re
from pathlib import Path

import pytest
import yaml

from segtransfer import open_results
from tests.conftest import ROOT
from tests.docs.console import File, clone, follow, small_and_inline, steps

TUTORIALS = ROOT / "docs/tutorials"


def stored_attacks(folder: Path) -> dict[str, set[str]]:
    """Return the attacks of the complete experiments in the stores of a folder, by experiment."""
    found = [r for store in folder.glob("*/segtransfer-store") for r in open_results(store)]
    return {results.name: set(results.attacks) for results in found if not results.missing}


@pytest.mark.pages
def test_first_matrix_on_images_of_half_the_size(tmp_path: Path) -> None:
    folder = tmp_path / "first"
    folder.mkdir()
    follow(TUTORIALS / "first-matrix.md", folder, small_and_inline("data.size=[120,160]"))
    (report,) = folder.glob("segtransfer-store/reports/quickstart-*")
    assert {"report.html", "panel-fcn-r18.png", "matrices.png"} <= {
        p.name for p in report.iterdir()
    }


@pytest.mark.pages
def test_own_models_from_drawing_to_comparison(tmp_path: Path) -> None:
    folder = clone(tmp_path / "clone")
    follow(TUTORIALS / "own-models.md", folder, small_and_inline())
    assert stored_attacks(folder) == {"mine": {"noise", "pgd", "ds-mi"}}


@pytest.mark.pages
def test_own_parts_from_loss_to_comparison(tmp_path: Path) -> None:
    folder = clone(tmp_path / "clone")
    follow(TUTORIALS / "own-parts.md", folder, small_and_inline())
    assert stored_attacks(folder) == {"parts": {"pgd", "unsure", "grey"}}


@pytest.mark.slow
def test_search_and_its_continuation_end_with_settings_to_paste(tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    folder.mkdir()
    follow(TUTORIALS / "search.md", folder)
    (best,) = folder.glob("segtransfer-store/reports/*/best.yaml")
    assert yaml.safe_load(best.read_text())["attacks"]


def test_search_shows_the_recipe() -> None:
    recipe = (ROOT / "search_spaces/recipes/quickstart.yaml").read_text()
    (shown,) = re.findall(r"```yaml\n(.*?)```", (TUTORIALS / "search.md").read_text(), re.DOTALL)
    assert recipe.endswith(shown)


def test_own_models_shows_the_files_of_the_example() -> None:
    example = ROOT / "examples/own-models"
    blocks = steps(TUTORIALS / "own-models.md")
    shown = {block.name: block.content for block in blocks if isinstance(block, File)}
    assert set(shown) == {"my_nets.py", "mine.yaml"}
    assert shown == {name: (example / name).read_text() for name in shown}
