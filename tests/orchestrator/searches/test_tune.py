"""The parts between Ray Tune and a search, without a cluster: trial runner and searcher."""

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from segtransfer.errors import InputError
from segtransfer.runtime.interrupts import HoursUp
from segtransfer.runtime.time_limit import TimeLimit
from segtransfer.searches.context import SearchContext
from segtransfer.searches.optuna_study import REASON, SCORE, open_storage, open_study, read_trials
from segtransfer.store import Store
from tests.orchestrator.searches import toys
from tests.orchestrator.searches.searches import (
    STEP_SIZE,
    grey_context,
    local_client,
    made_score,
    space,
    step,
)
from tests.orchestrator.toy_experiments import row_files

REFUSING = f"{toys.__name__}:refusing"
FIELDS: dict[str, Any] = {**STEP_SIZE, "loss": {"choice": ["cross-entropy", REFUSING]}}


def point(levels: float, loss: str = "cross-entropy") -> dict[str, Any]:
    return step(levels, loss=loss)


# -- the runner -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> SearchContext:
    return grey_context(tmp_path_factory.mktemp("runner"), search={"space": space(FIELDS)})[0]


@pytest.fixture
def start_runner(context: SearchContext, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Return a function that starts runners, clients of a driver in this process."""
    from segtransfer.searches import tune

    client = local_client(Store(context.store), context.search)
    monkeypatch.setattr(tune, "join_driver", lambda namespace, store: client)
    return lambda: tune.TrialRunner(context, "here")


def rung_of(answer: dict[str, Any]) -> tuple[int, int]:
    kept = json.loads(answer[SCORE])
    return kept["rung"], kept["images"]


def test_runner_reports_rung_by_rung(start_runner: Callable[[], Any]) -> None:
    runner = start_runner()
    answers = [runner.run_rung(0, point(10), rung) for rung in range(3)]
    assert [rung_of(answer) for answer in answers] == [(0, 1), (1, 2), (2, 4)]
    assert [answer["rung_cost"] for answer in answers] == [1, 2, 4]
    assert [one["transfer"] for one in answers] == [pytest.approx(toys.drop_at(10 / 255))] * 3


def test_new_runner_continues_at_the_requested_rung(start_runner: Callable[[], Any]) -> None:
    first = start_runner().run_rung(1, point(11), 0)
    second = start_runner().run_rung(1, point(11), 1)
    assert (rung_of(first), rung_of(second)) == ((0, 1), (1, 2))


def test_restarted_trial_computes_nothing_again(
    start_runner: Callable[[], Any], context: SearchContext
) -> None:
    runner = start_runner()
    before = [runner.run_rung(2, point(12), rung) for rung in range(2)]
    rows = row_files(Store(context.store))
    assert [runner.run_rung(2, point(12), rung) for rung in range(2)] == before
    assert row_files(Store(context.store)) == rows
    assert rung_of(runner.run_rung(2, point(12), 2)) == (2, 4)


def test_runner_reports_why_a_trial_failed_and_runs_the_next(
    start_runner: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = start_runner()
    assert "this loss refuses" in runner.run_rung(3, point(13, REFUSING), 0)["failed"]
    assert "no field of the space" in runner.run_rung(4, {"steps": 3}, 0)["failed"]
    assert rung_of(runner.run_rung(5, point(13), 0)) == (0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "save_trial", full_disk)
        assert runner.run_rung(6, point(13), 0) == {"failed": "OSError: no space left on device"}
    assert rung_of(runner.run_rung(6, point(13), 0)) == (0, 1)


def full_disk(*arguments: Any) -> None:
    raise OSError("no space left on device")


# -- time limit --------------------------------------------------------------------------------


def test_stopper_past_the_time_limit_raises_and_no_sooner() -> None:
    from segtransfer.searches.tune import TimeLimitStopper

    assert not TimeLimitStopper(TimeLimit(None)).stop_all()
    assert not TimeLimitStopper(TimeLimit(1.0)).stop_all()
    with pytest.raises(HoursUp):
        TimeLimitStopper(TimeLimit(1e-12)).stop_all()


# -- the searcher ----------------------------------------------------------------------------


@pytest.fixture
def searching(tmp_path: Path) -> tuple[Any, optuna.Study]:
    """Return a searcher of three rungs and its study."""
    from segtransfer.searches import tune

    context, store = grey_context(tmp_path)
    study = open_study(context, open_storage(context, store), resume=False)
    searcher = tune.StudySearch(
        tune._define_by_run(context),
        metric="transfer",
        mode="max",
        study=study,
        settings=context.search.search,
        last_rung=2,
    )
    return searcher, study


def test_study_pruner_sees_each_rung_once_and_ends_trials(
    searching: tuple[Any, optuna.Study],
) -> None:
    """Five trials at 40 points come first: Optuna's median needs so many."""
    from segtransfer.searches import tune

    searcher, study = searching
    searcher._ot_study.pruner = optuna.pruners.MedianPruner()
    scheduler = tune.StudyPruning(searcher)

    def decided(name: str, transfer: float) -> list[str]:
        searcher.suggest(name)
        trial = SimpleNamespace(trial_id=name)
        made = []
        for rung in range(3):
            made.append(scheduler.on_trial_result(None, trial, report(rung, transfer)))
            if made[-1] == "STOP":
                break
            if rung < 2:
                searcher.on_trial_result(name, report(rung, transfer))  # as Tune calls it
        searcher.on_trial_complete(name, report(rung, transfer))
        return made

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna warns about a step reported twice
        for number in range(5):
            assert decided(f"first-{number}", 40.0) == ["CONTINUE"] * 3
        assert decided("worse", 30.0) == ["STOP"]
        assert decided("better", 50.0) == ["CONTINUE"] * 3
    assert [trial.state for trial in read_trials(study)][-2:] == ["pruned", "complete"]
    failed = scheduler.on_trial_result(None, SimpleNamespace(trial_id="x"), {"failed": "why"})
    assert failed == "CONTINUE"


def test_failing_sampler_of_the_user_is_named(tmp_path: Path) -> None:
    from segtransfer.searches import tune

    context, store = grey_context(tmp_path, search={"sampler": f"{__name__}:raising"})
    study = open_study(context, open_storage(context, store), resume=False)
    config = tune._tune_config(context, study, 4)
    with pytest.raises(InputError, match=rf"^search.sampler {__name__}:raising raised Runtime"):
        config.search_alg.suggest("x")


def raising(seed: int) -> optuna.samplers.BaseSampler:
    class Raising(optuna.samplers.RandomSampler):
        def sample_independent(self, *arguments: Any) -> Any:
            raise RuntimeError("this sampler refuses")

    return Raising(seed)


def report(rung: int, transfer: float) -> dict[str, Any]:
    score = made_score(transfer, rung=rung)
    kept = {"rung_cost": 2**rung, SCORE: json.dumps(asdict(score))}
    return {"training_iteration": rung + 1, **score.objectives, **kept}


def test_trial_with_all_rungs_is_complete(searching: tuple[Any, optuna.Study]) -> None:
    searcher, study = searching
    assert searcher.suggest("x")["number"] == 0
    for rung in range(2):
        searcher.on_trial_result("x", report(rung, 40.0 + rung))
    searcher.on_trial_complete("x", report(2, 42.0))
    (trial,) = read_trials(study)
    assert (trial.state, trial.score) == ("complete", made_score(42.0, rung=2))
    assert study.get_trials()[0].values == [42.0]


def test_pruned_trial_reports_every_reached_rung_to_optuna(
    searching: tuple[Any, optuna.Study],
) -> None:
    """Tune reports the last rung with the end of the trial only."""
    searcher, study = searching
    searcher.suggest("x")
    searcher.on_trial_result("x", report(0, 40.0))
    searcher.on_trial_complete("x", report(1, 30.0))
    searcher.suggest("y")
    searcher.on_trial_complete("y", report(0, 10.0))
    x, y = read_trials(study)
    assert (x.state, x.score, y.state) == ("pruned", made_score(30.0, rung=1), "pruned")
    values = [list(trial.intermediate_values.values()) for trial in study.get_trials()]
    assert values == [[40.0, 30.0], [10.0]]


@pytest.mark.parametrize(
    ("result", "error", "reason"),
    [
        ({"failed": "this loss refuses"}, False, "this loss refuses"),
        ({"failed": "this loss refuses"}, True, "this loss refuses"),
        (None, True, "its process died 3 times"),
    ],
)
def test_a_failed_trial_keeps_its_reason_and_has_no_value(
    searching: tuple[Any, optuna.Study], result: dict[str, Any] | None, error: bool, reason: str
) -> None:
    searcher, study = searching
    searcher.suggest("x")
    if result:
        searcher.on_trial_result("x", {"training_iteration": 1, **result})
    searcher.on_trial_complete("x", result, error=error)
    (trial,) = read_trials(study)
    assert (trial.state, trial.reason, trial.score) == ("failed", reason, None)
    (frozen,) = study.get_trials()
    assert frozen.values is None
    assert frozen.user_attrs == {REASON: reason}


def test_every_proposal_has_the_number_of_its_trial_and_a_point_of_the_space(
    searching: tuple[Any, optuna.Study],
) -> None:
    searcher, study = searching
    asked = [searcher.suggest(name) for name in "xyz"]
    assert [one["number"] for one in asked] == [0, 1, 2]
    assert [one["point"] for one in asked] == [trial.params for trial in study.get_trials()]
