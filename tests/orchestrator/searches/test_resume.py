"""Searches that lose a process by -9, or run out of time: nothing is lost, doubled, done again."""

import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

import segtransfer.searches.search
from segtransfer.errors import InputError
from segtransfer.runtime.time_limit import TimeLimit
from segtransfer.searches import SearchResult, run_search
from segtransfer.searches.context import make_context
from segtransfer.searches.optuna_study import Trial, open_storage, read_trials, study_name
from segtransfer.searches.spec import read_search
from segtransfer.store import Store
from tests.orchestrator.runtime.executors.fleets import exists, in_process, kill, until
from tests.orchestrator.searches import toys
from tests.orchestrator.searches.searches import (
    STEP_SIZE,
    RecordingListener,
    alive,
    grey_spec,
    space,
    step,
)
from tests.orchestrator.toy_experiments import row_files

POINTS = [step(12), step(16), step(20)]
PATIENCE = 900  # seconds: processes of Ray's own start and end meanwhile
CLIENT = """
import json, sys
from segtransfer.searches import run_search
from segtransfer.searches.spec import read_search
from tests.orchestrator.searches.searches import RecordingListener
run_search(read_search(json.loads(sys.argv[1])), RecordingListener())
"""


@pytest.fixture(autouse=True)
def longer(no_test_hangs: None) -> None:
    signal.alarm(PATIENCE)


def spec(folder: Path, points: list[dict[str, Any]]) -> dict[str, Any]:
    """A search that tries exactly these points, two at once."""
    tries = {"trials": len(points), "concurrency": 2, "rungs": [1]}
    return grey_spec(
        folder,
        models=[toys.source(delay=0.1), toys.target(), toys.target("new")],
        search={"space": space(STEP_SIZE, *points), **tries},
    )


def check(found: SearchResult, points: list[dict[str, Any]]) -> None:
    """All that was asked for is there, once, with the scores known in closed form."""
    trials = found.trials
    assert sorted(t.point["step_size"] for t in trials) == sorted(p["step_size"] for p in points)
    assert len({trial.number for trial in trials}) == len(points)
    for trial in trials:
        assert trial.state in ("complete", "pruned")
        assert trial.score is not None
        drop = toys.drop_at(trial.point["step_size"])
        assert trial.score.objectives["transfer"] == pytest.approx(drop)
    assert found.best[0].step_size == 16 / 255
    assert not found.results.missing
    assert not found.results.failures


def unchanged(store: Store, rows: dict[str, Any]) -> bool:
    """Return whether stored files are unchanged."""
    return {key: row for key, row in row_files(store).items() if key in rows} == rows


class Kill(RecordingListener):
    """Kills all processes of these classes once, when a trial has ended and another runs."""

    def __init__(self, victims: tuple[str, ...]) -> None:
        super().__init__()
        self._victims = victims
        self.ended: list[Trial] = []
        self.rows: dict[str, Any] = {}

    def trials(self, trials: list[Trial]) -> None:
        super().trials(trials)
        ended = [trial for trial in trials if trial.state != "running"]
        found = [[pid for pid in alive(victim).values() if pid] for victim in self._victims]
        if self.rows or not ended or len(ended) == len(trials) or not all(found):
            return
        processes = [process for processes in found for process in processes]
        for process in processes:
            kill(process)
        until("they are gone", lambda: not any(map(exists, processes)))
        assert self.context is not None
        self.ended, self.rows = ended, row_files(Store(self.context.store))


EVERY = ("ImplicitFunc", "TrialRunner", "ModelActor", "DriverActor")


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    "victims",
    [
        pytest.param(EVERY, id="all-at-once", marks=pytest.mark.pages),
        *(pytest.param((name,), id=name, marks=pytest.mark.slow) for name in EVERY),
    ],
)
def test_search_continues_after_its_processes_are_killed(
    victims: tuple[str, ...], tmp_path: Path
) -> None:
    """Those of its trials, the runner that they call, its models' workers, its driver."""
    search = read_search(spec(tmp_path, POINTS))
    found = run_search(search, killer := Kill(victims))
    assert killer.rows, "the processes were killed between trials"
    assert unchanged(Store(search.runtime.store), killer.rows)
    check(found, POINTS)
    before = {trial.number: trial for trial in killer.ended}
    assert {t.number: t for t in found.trials if t.number in before} == before
    assert [frozen.state.name for frozen in found.study.get_trials()] == ["COMPLETE"] * 3
    until("nothing of it is left", lambda: not any(map(alive, EVERY)), timeout=30)


def running_study(raw: dict[str, Any]) -> Callable[[], list[Trial]]:
    """The trials of a search in another process, as its study has them."""
    search = read_search(raw)
    store = Store(search.runtime.store)
    context = make_context(search, store)

    def trials() -> list[Trial]:
        if not [*Path(store.location).rglob("*.journal")]:
            return []
        storage = open_storage(context, store)
        names = [study.study_name for study in storage.get_all_studies()]
        if study_name(context) not in names:
            return []
        return read_trials(optuna.load_study(study_name=study_name(context), storage=storage))

    return trials


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_search_with_a_killed_process_continues_with_resume(tmp_path: Path) -> None:
    raw = spec(tmp_path, POINTS)
    search, trials_of = read_search(raw), running_study(raw)
    child = in_process(CLIENT, json.dumps(raw))

    def some_ended_and_some_run() -> bool:
        assert child.poll() is None, child.stderr and child.stderr.read().decode()
        return {"complete", "running"} <= {trial.state for trial in trials_of()}

    until("the middle of the search", some_ended_and_some_run, timeout=240, every=0.2)
    child.kill()
    child.communicate()
    until("its actors are gone", lambda: not alive("DriverActor") and not alive("ModelActor"), 60)
    store = Store(search.runtime.store)
    rows, left = row_files(store), trials_of()
    with pytest.raises(InputError, match=r"The store has \d of 3 trials of this search"):
        run_search(search, RecordingListener())
    found = run_search(search, listener := RecordingListener(), resume=True)
    assert unchanged(store, rows)
    check(found, POINTS)
    complete = [trial for trial in left if trial.state == "complete"]
    assert listener.before == complete
    assert found.trials[: len(complete)] == complete, "ended trials are unchanged"
    states = Counter(frozen.state.name for frozen in found.study.get_trials())
    assert states == {"COMPLETE": 3, "FAIL": sum(t.state == "running" for t in left)}


class OutOfTime(RecordingListener):
    """Reach the time limit when a trial has ended and another runs."""

    def __init__(self, clock: TimeLimit) -> None:
        super().__init__()
        self.clock = clock

    def trials(self, trials: list[Trial]) -> None:
        super().trials(trials)
        if {"complete", "running"} <= {trial.state for trial in trials}:
            self.clock.stopped = "hours"


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_trials_running_at_the_time_limit_are_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [*POINTS, step(10), step(14), step(18)]
    search, clock = read_search(spec(tmp_path, points)), TimeLimit(None)
    with monkeypatch.context() as patch:
        patch.setattr(segtransfer.searches.search, "TimeLimit", lambda max_hours: clock)
        stopped = run_search(search, listener := OutOfTime(clock))
    assert listener.best == [], "no confirmation starts after the time limit"
    assert (stopped.results.stopped, stopped.comparisons) == ("hours", [])
    assert {trial.state for trial in stopped.trials} == {"complete", "running"}
    until("nothing of it is left", lambda: not any(map(alive, EVERY)), timeout=30)
    found = run_search(search, RecordingListener(), resume=True)
    check(found, points)
    complete = [trial for trial in stopped.trials if trial.state == "complete"]
    assert [trial for trial in found.trials if trial in complete] == complete
