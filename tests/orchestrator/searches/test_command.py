"""``segtransfer search``: exit codes, messages, output and files."""

import signal
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.searches import run_search
from segtransfer.searches.context import make_context
from segtransfer.searches.optuna_study import open_storage, study_name
from segtransfer.searches.spec import read_search
from segtransfer.store import Store
from tests.orchestrator.runtime.executors.fleets import in_process, until
from tests.orchestrator.searches.searches import RecordingListener, alive, grey_spec, step
from tests.orchestrator.searches.test_resume import (
    EVERY,
    PATIENCE,
    POINTS,
    check,
    running_study,
    spec,
    unchanged,
)
from tests.orchestrator.toy_experiments import row_files

COMMAND = "from segtransfer.cli import main; main()"


@pytest.fixture
def longer(no_test_hangs: None) -> None:
    signal.alarm(PATIENCE)


def written(folder: Path, content: dict[str, Any]) -> str:
    """A search's file, under the name that a search without a file has."""
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_wrong_search_is_refused_in_a_line_with_its_file(tmp_path: Path) -> None:
    path = written(tmp_path, grey_spec(tmp_path, sources=["sourse"]))
    answer = CliRunner().invoke(app, ["search", path])
    assert answer.exit_code == 2
    told = answer.stderr.replace("\n", " ")
    assert f"{path}: sources names 'sourse', which is no model; did you mean 'source'?" in told
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster", "longer")
def test_search_prints_its_best_and_verdict_and_writes_a_report(tmp_path: Path) -> None:
    path = written(tmp_path, spec(tmp_path, POINTS))
    answer = CliRunner().invoke(app, ["search", path, "--no-tracking"])
    assert answer.exit_code == 0, answer.output
    for text in (
        "The best of 3 trials (0 pruned, 0 failed)",
        "best-1 − pgd",
        "On new images and new models of another backbone than the source's, best-1 beats",
        "step_size: 16/255",
        "Search report:",
        "optuna-dashboard",
    ):
        assert text in answer.output.replace("\n", " "), answer.output
    (trials,) = Path(tmp_path, "store", "reports").glob("*/trials.csv")
    assert sorted(pd.read_csv(trials)["step_size"]) == pytest.approx([12 / 255, 16 / 255, 20 / 255])
    again = CliRunner().invoke(app, ["search", path, "--no-tracking"])
    assert again.exit_code == 0, again.output
    assert "3 trials ended before." in again.output


@pytest.mark.slow
@pytest.mark.usefixtures("cluster", "longer")
def test_terminated_search_reports_partial_results_and_continues_with_resume(
    tmp_path: Path,
) -> None:
    points = [*POINTS, step(10), step(14), step(18)]
    raw = spec(tmp_path, points)
    search, trials_of = read_search(raw), running_study(raw)
    child = in_process(COMMAND, "search", written(tmp_path, raw), "--no-tracking")

    def some_ended_and_some_run() -> bool:
        assert child.poll() is None, child.communicate()
        return {"complete", "running"} <= {trial.state for trial in trials_of()}

    until("the middle of the search", some_ended_and_some_run, timeout=400, every=0.2)
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=300)
    assert child.returncode == 143, errors.decode()
    assert "Run the same command with --resume" in errors.decode()
    assert "Traceback" not in errors.decode()
    (best,) = Path(tmp_path, "store", "reports").glob("*/best.yaml")
    assert [attack["name"] for attack in yaml.safe_load(best.read_text())["attacks"]] == ["best-1"]
    until("nothing of it is left", lambda: not any(map(alive, EVERY)), timeout=60)
    context = make_context(search, store := Store(search.runtime.store))
    study = optuna.load_study(study_name=study_name(context), storage=open_storage(context, store))
    states = {trial.state.name for trial in study.get_trials()}
    assert states <= {"COMPLETE", "FAIL"}, "no trial waits or runs"
    rows = row_files(Store(search.runtime.store))
    found = run_search(search, listener := RecordingListener(), resume=True)
    assert 1 <= len(listener.before) < len(points), "the search was terminated between trials"
    assert unchanged(Store(search.runtime.store), rows)
    check(found, points)
