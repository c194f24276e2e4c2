"""A search while it runs: lines where there is no terminal, a live table where there is one."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from segtransfer.reporting.search_progress import SearchView
from segtransfer.searches import SearchResult
from segtransfer.searches.optuna_study import Trial
from tests.orchestrator.reporting.made_results import toy_result


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return toy_result(tmp_path_factory.mktemp("found"))


def view(terminal: bool) -> tuple[SearchView, StringIO]:
    text = StringIO()
    console = Console(file=text, width=140, force_terminal=terminal, color_system=None)
    return SearchView(console, now=lambda: 0.0), text


def test_every_ended_trial_is_printed_once(found: SearchResult) -> None:
    told, text = view(terminal=False)
    told.begun(found.context, [])
    running = Trial(12, "running", {"momentum": False}, None, "", 0.0)
    told.trials([*found.trials[:2], running])
    told.trials([*found.trials, running])
    lines = [line for line in text.getvalue().splitlines() if line.startswith("trial ")]
    assert [int(line.split()[1]) for line in lines] == list(range(12))
    assert "on 4 images" in lines[0]
    assert "pruned" in lines[10]
    assert "2 tasks failed: no memory" in lines[11]


def test_resumed_search_prints_number_of_earlier_trials(found: SearchResult) -> None:
    told, text = view(terminal=False)
    told.begun(found.context, found.trials)
    told.trials(found.trials)
    assert "12 trials ended before." in text.getvalue()
    assert "Starting the models" not in text.getvalue()
    assert not [line for line in text.getvalue().splitlines() if line.startswith("trial ")]


def test_a_terminal_shows_the_trials_and_the_best_below(found: SearchResult) -> None:
    told, text = view(terminal=True)
    told.begun(found.context, found.trials)
    told.trials(found.trials)
    told.stop()
    shown = text.getvalue()
    assert "ds.low" in shown
    assert "12 of 12 trials" in shown
    assert "best" in shown


def test_confirmation_names_attacks_and_baselines(found: SearchResult, tmp_path: Path) -> None:
    told, text = view(terminal=False)
    told.begun(found.context, found.trials)
    assert told.confirming(found.best) is told.progress
    assert "Confirming best-1, best-2 against pgd" in text.getvalue()
