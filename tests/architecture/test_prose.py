"""The language of docstrings, help and pages gets no worse: the check and its record."""

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
VERB = '''\
def verb(option: Option(help="Print what is there.")):
    """Print it here.

    Example:
        what that one

    Raises:
        Exit: One.
    """


app = App(help=text("Where is that."))
'''
FIGURES = {
    "'what' per 1,000 docstring words": 85.7,
    "'where' per 1,000 docstring words": 0.0,
    "'that' per 1,000 docstring words": 57.1,
    "'it' per 1,000 docstring words": 57.1,
    "'one' per 1,000 docstring words": 85.7,
    "'what' per 1,000 help words": 90.9,
    "'where' per 1,000 help words": 90.9,
    "'that' per 1,000 help words": 90.9,
    "'it' per 1,000 help words": 90.9,
    "'one' per 1,000 help words": 0.0,
    "'what' per 1,000 page words": 250.0,
    "'where' per 1,000 page words": 0.0,
    "'that' per 1,000 page words": 0.0,
    "'it' per 1,000 page words": 250.0,
    "'one' per 1,000 page words": 0.0,
    "first lines that are no imperative, %": 50.0,
    "public functions with Args, Returns, Raises or Yields, %": 66.7,
    "Markdown lines over 120 characters": 1,
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a checkout of a module, a verb and a page.

    The docstrings have 35 words, the help texts 11, the page 4.
    """
    for folder, name, content in (
        ("tasks", "module.py", MODULE),
        ("orchestrator/cli", "v.py", VERB),
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / name).write_text(content)
    (tmp_path / "docs").mkdir()
    long = "x" * 121
    left_out = f"| {long} |\n    {long}\n![]({long})\n```\n{long} that\n```\n"
    page = f"{long}\n{left_out}What [is it](one.md) `where`.\n"
    (tmp_path / "docs" / "page.md").write_text(page)
    return tmp_path


def check(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the check on a tree, whose record is beside its folders."""
    command = [sys.executable, str(SCRIPT), "--root", str(tree), "--record", str(record(tree))]
    return subprocess.run([*command, *options], capture_output=True, text=True)


def record(tree: Path) -> Path:
    return tree / "prose.json"


def test_checkout_is_no_worse_than_recorded() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_figures_equal_hand_counts(tree: Path) -> None:
    assert check(tree, "--write").returncode == 0
    assert json.loads(record(tree).read_text()) == FIGURES
    assert check(tree).returncode == 0


@pytest.mark.parametrize("name", FIGURES)
def test_worse_figure_fails_and_is_not_recorded(name: str, tree: Path) -> None:
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
def test_better_figure_is_recorded_on_request_only(name: str, tree: Path) -> None:
    by = -1 if name.startswith("public") else 1
    worse = FIGURES | {name: FIGURES[name] + by}
    record(tree).write_text(json.dumps(worse))
    assert check(tree).returncode == 0
    assert json.loads(record(tree).read_text()) == worse
    assert check(tree, "--write").returncode == 0
    assert json.loads(record(tree).read_text()) == FIGURES


def test_figure_without_a_record_fails(tree: Path) -> None:
    assert check(tree).returncode != 0
