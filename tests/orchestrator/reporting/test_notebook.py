"""Progress in a notebook: one line that is replaced, warnings that stay, nothing elsewhere."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import segtransfer
from segtransfer.reporting.notebook import NotebookConsole, in_notebook
from segtransfer.runtime.listener import Listener
from tests.orchestrator.toy_experiments import toy_spec


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that a notebook would have shown one after another, in one place."""
    shown: list[str] = []

    def display(content: dict[str, str], raw: bool, display_id: bool = False) -> Any:
        assert raw
        shown.append(content["text/plain"])
        return SimpleNamespace(update=lambda content, raw: shown.append(content["text/plain"]))

    shell, area = ModuleType("IPython"), ModuleType("IPython.display")
    shell.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    area.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", area)
    return shown


def test_a_run_in_a_notebook_shows_one_line_with_the_totals_at_the_end(
    lines: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = segtransfer.run(toy_spec(tmp_path))
    assert lines[0] == "Reading the data ..."
    assert any(line.startswith("51 tasks, 0 of them already in the store") for line in lines)
    assert lines[-1].startswith("51 of 51 tasks in 0:")
    assert results.computed == 51
    assert capsys.readouterr() == ("", "")


def test_second_run_prints_nothing_to_compute(lines: list[str], tmp_path: Path) -> None:
    segtransfer.run(toy_spec(tmp_path))
    lines.clear()
    segtransfer.run(toy_spec(tmp_path))
    assert lines[-1] == "Nothing to compute: all 51 results are in the store."


def test_a_given_listener_takes_the_place_of_the_line(lines: list[str], tmp_path: Path) -> None:
    segtransfer.run(toy_spec(tmp_path), listener=Listener())
    assert lines == []


def test_warnings_stay_and_lines_are_replaced(
    lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.text import Text

    console = NotebookConsole()
    console.print("one\ntwo\n")
    console.print(Text("a node is lost", style="yellow"))
    console.print("three")
    assert lines == ["two", "three"]
    assert capsys.readouterr().out == "a node is lost\n"


def test_a_script_is_no_notebook() -> None:
    assert not in_notebook()
