"""The hours of a search: they hold for its trials and its confirmation together, without Ray."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from typer.testing import CliRunner

import segtransfer.searches.search
from segtransfer import search_spaces
from segtransfer.cli import app
from segtransfer.runtime.client import LocalClient
from segtransfer.runtime.interrupts import HoursUp
from segtransfer.runtime.time_limit import TimeLimit
from segtransfer.searches import run_search
from segtransfer.searches.context import SearchContext, propose, score_rungs
from segtransfer.searches.optuna_study import SCORE, Trial, ended
from segtransfer.store import Store
from tests.orchestrator.searches.searches import (
    STEP_SIZE,
    RecordingListener,
    grey_search,
    grey_spec,
    local_client,
    space,
    step,
)

POINTS = [step(12), step(16), step(20), step(10)]


class Named(LocalClient):
    namespace = "here"


class Here:
    """Carries trials out one by one in this process; the hours are up in the middle of the one
    after the first ``most``, or with ``most`` None after all of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from segtransfer.searches import tune

        self.most: int | None = None
        monkeypatch.setattr(segtransfer.searches.search, "_driver", self.driver)
        monkeypatch.setattr(tune, "run_trials", self.run_trials)

    @contextmanager
    def driver(self, context: SearchContext, study: optuna.Study) -> Iterator[Named]:
        self.client = Named(
            local_client(Store(context.search.runtime.store), context.search)._driver
        )
        yield self.client

    def run_trials(
        self,
        context: SearchContext,
        study: optuna.Study,
        namespace: str,
        tell: Callable[[list[Trial]], None],
        clock: TimeLimit,
    ) -> None:
        for number in range(context.search.search.trials - len(ended(study))):
            trial = study.ask()
            attack = propose(
                context, search_spaces.suggest_point(context.space, trial), trial.number
            )
            if number == self.most:
                raise HoursUp
            *_, score = score_rungs(context, attack, self.client, Store(context.store))
            trial.set_user_attr(SCORE, asdict(score))
            study.tell(trial, score.objectives["transfer"])


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(monkeypatch)


def changes(hours: float) -> dict[str, Any]:
    return {"search": {"space": space(STEP_SIZE, *POINTS)}, "runtime": {"max_hours": hours}}


def test_search_past_its_hours_reports_and_continues_with_resume(
    here: Here, tmp_path: Path
) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(grey_spec(tmp_path, **changes(5.0))))
    here.most = 2
    stopped = CliRunner().invoke(app, ["search", str(path), "--no-tracking"])
    assert stopped.exit_code == 0, stopped.output
    assert (
        "Stopped after 5 h: 2 of 4 trials have ended, the best are not confirmed yet. Run the same "
        "command with --resume to resume the search." in stopped.output
    )
    assert "Confirming" not in stopped.output
    here.most = None
    found = run_search(
        grey_search(tmp_path, **changes(5.0)), listener := RecordingListener(), resume=True
    )
    assert [trial.state for trial in listener.before] == ["complete"] * 2
    assert sorted(t.point["step_size"] for t in found.trials) == sorted(
        point["step_size"] for point in POINTS
    ), "what was running is tried again, and nothing twice"
    assert (found.results.stopped, found.results.missing) == ("", frozenset())
    assert found.comparisons


def test_confirmation_has_only_the_hours_left_by_the_trials(here: Here, tmp_path: Path) -> None:
    found = run_search(grey_search(tmp_path, **changes(1e-9)), listener := RecordingListener())
    assert len(found.trials) == 4
    assert len(listener.best) == 1, "the confirmation had started"
    assert (found.results.stopped, found.results.computed, found.comparisons) == ("hours", 0, [])


def test_search_without_a_trial_in_its_hours_suggests_resume(here: Here, tmp_path: Path) -> None:
    here.most = 0
    with pytest.raises(RuntimeError, match=r"stopped after 2 h .*, before a trial completed. Add "):
        run_search(grey_search(tmp_path, **changes(2.0)), RecordingListener())
