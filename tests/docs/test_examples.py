"""The examples run as their pages say, from a copy of their folder."""

import shutil
from pathlib import Path

import pytest

from segtransfer import open_results
from segtransfer.results import Results
from tests.conftest import ROOT
from tests.docs.console import follow, small_and_inline

EXAMPLES = ROOT / "examples"


def followed(name: str, folder: Path) -> Path:
    """Follow the page of an example in a copy of its folder, and return the copy."""
    copy = Path(shutil.copytree(EXAMPLES / name, folder / name))
    follow(copy / "README.md", copy, small_and_inline())
    return copy


def stored(folder: Path, name: str) -> Results:
    """Return the results of an experiment in the store of a folder."""
    (found,) = [r for r in open_results(folder / "segtransfer-store") if r.name == name]
    assert not found.missing
    return found


@pytest.mark.pages
def test_own_models_are_fooled_far_more_than_by_noise(tmp_path: Path) -> None:
    results = stored(followed("own-models", tmp_path), "mine")
    assert results.matrix("noise", "drop").to_numpy().max() < 2
    assert results.matrix("pgd", "drop").to_numpy().min() > 5


@pytest.mark.pages
def test_paper_table_writes_three_tables(tmp_path: Path) -> None:
    folder = followed("paper-table", tmp_path)
    assert (folder / "table.tex").read_text().count(r"\begin{table}") == 3
    assert stored(folder, "paper-table").attacks == ["pgd", "mi", "ds-mi"]


@pytest.mark.slow
def test_search_ends_with_settings_and_their_confirmation(tmp_path: Path) -> None:
    folder = followed("search", tmp_path)
    assert list(folder.glob("segtransfer-store/reports/my_search-*/best.yaml"))
    assert "best-1" in stored(folder, "my_search-confirmed").attacks


def test_examples_hold_text_files_alone() -> None:
    assert {path.suffix for path in EXAMPLES.rglob("*.*")} - {".pyc"} == {".md", ".py", ".yaml"}
