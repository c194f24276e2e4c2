"""The language of docstrings and pages gets no worse: the check, its record and its refusals."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "infra/checks/prose.py"
MODULE = '''\
"""Ten words of a module, one of them says what."""


def public():
    """Return the sum.

    Returns:
        A number.
    """


def other():
    """The other sum."""


def _private():
    """What it is that is private."""
'''
FIGURES = {
    "'what' per 1,000 docstring words": 80.0,
    "'where' per 1,000 docstring words": 0.0,
    "'that' per 1,000 docstring words": 40.0,
    "'it' per 1,000 docstring words": 40.0,
    "'one' per 1,000 docstring words": 40.0,
    "first lines that are no imperative, %": 66.7,
    "public functions with Args, Returns, Raises or Yields, %": 50.0,
    "Markdown lines over 120 characters": 1,
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout of one module and one page, with 25 docstring words."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "module.py").write_text(MODULE)
    (tmp_path / "docs").mkdir()
    long = "x" * 121
    (tmp_path / "docs" / "page.md").write_text(f"{long}\n| {long} |\n    {long}\n![]({long})\n")
    return tmp_path


def check(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the check on a tree, whose record is beside its folders."""
    command = [sys.executable, str(SCRIPT), "--root", str(tree), "--record", str(record(tree))]
    return subprocess.run([*command, *options], capture_output=True, text=True)


def record(tree: Path) -> Path:
    return tree / "prose.json"


def test_the_checkout_is_no_worse_than_recorded() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_figures_are_those_counted_by_hand(tree: Path) -> None:
    assert check(tree, "--write").returncode == 0
    assert json.loads(record(tree).read_text()) == FIGURES
    assert check(tree).returncode == 0


@pytest.mark.parametrize("name", FIGURES)
def test_a_worse_figure_fails_and_is_not_recorded(name: str, tree: Path) -> None:
    by = 1 if name.startswith("public") else -1
    better = FIGURES | {name: FIGURES[name] + by}
    record(tree).write_text(json.dumps(better))
    for options in ([], ["--write"]):
        done = check(tree, *options)
        assert done.returncode == 1
        (line,) = [line for line in done.stdout.splitlines() if "WORSE" in line]
        assert line.endswith(f"{name}  WORSE")
        assert json.loads(record(tree).read_text()) == better


@pytest.mark.parametrize("name", FIGURES)
def test_a_better_figure_is_recorded_on_request_only(name: str, tree: Path) -> None:
    by = -1 if name.startswith("public") else 1
    worse = FIGURES | {name: FIGURES[name] + by}
    record(tree).write_text(json.dumps(worse))
    assert check(tree).returncode == 0
    assert json.loads(record(tree).read_text()) == worse
    assert check(tree, "--write").returncode == 0
    assert json.loads(record(tree).read_text()) == FIGURES


def test_a_figure_without_a_record_fails(tree: Path) -> None:
    assert check(tree).returncode != 0
