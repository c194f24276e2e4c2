"""MLflow as its users filter and read it: times, author, parameters, names, metrics by step."""

import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from pandas.testing import assert_frame_equal
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.experiment.provenance import user
from segtransfer.reporting.folder import write_report
from segtransfer.results import Results, load_results
from segtransfer.tracking import experiments
from segtransfer.tracking.experiments import log_results
from segtransfer.tracking.runs import version_tags
from tests.conftest import ROOT
from tests.orchestrator.toy_experiments import CLASSES, run_toy, toy, write_images

ITERATED = [
    {"preset": "noise", "eps": "8/255"},
    {"preset": "ds-mi", "eps": "8/255", "steps": 3, "steps_at": [1, 2, 3]},
]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Results], MlflowClient]:
    """Two experiments of one name that differ in their seed, logged some time after their end."""
    folder = tmp_path_factory.mktemp("tracking")
    both = [run_toy(folder, name="toys", seed=seed, attacks=ITERATED) for seed in (0, 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        time.sleep(1)
        for results in both:
            write_report(results)
            uri = log_results(load_results(results.store, results.identity))
    return both, MlflowClient(tracking_uri=uri)


def runs(client: MlflowClient, condition: str) -> list[Run]:
    experiment = client.get_experiment_by_name("toys")
    return list(client.search_runs([experiment.experiment_id], condition))


def test_runs_last_as_long_as_their_computation(
    logged: tuple[list[Results], MlflowClient],
) -> None:
    (first, _), client = logged
    record = first.manifest.run
    assert record is not None
    started, ended = (
        datetime.fromisoformat(moment).timestamp() for moment in (record.started, record.ended)
    )
    (parent, *children) = sorted(
        runs(client, f"tags.`segtransfer.config` = '{first.identity}'"),
        key=lambda run: run.info.run_name != f"toys 8/255 seed 0 {first.identity[:8]}",
    )
    assert abs(parent.info.start_time / 1000 - started) < 0.01
    assert abs(parent.info.end_time / 1000 - ended) < 0.01
    assert len(children) == 2
    for run in children:
        assert parent.info.start_time - 1000 <= run.info.start_time < run.info.end_time
        assert run.info.end_time <= parent.info.end_time


def test_a_run_has_the_author_and_executor_of_its_computation(
    logged: tuple[list[Results], MlflowClient],
) -> None:
    for run in runs(logged[1], ""):
        assert run.data.tags["mlflow.user"] == user()
        assert run.data.params["executor"] == "inline"


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("params.seed = '1'", 3),
        ("params.eps = '8/255' and tags.segtransfer.kind = 'attack'", 4),
        ("params.models = 'a, b' and tags.segtransfer.kind = 'experiment'", 2),
        ("params.scales = '0.5 to 1.5'", 2),
        ("params.steps = '3' and params.images = '6' and params.numerics = 'reference'", 2),
    ],
)
def test_runs_are_found_by_their_parameters(
    logged: tuple[list[Results], MlflowClient], condition: str, count: int
) -> None:
    assert len(runs(logged[1], condition)) == count


def test_names_of_runs_are_unique(logged: tuple[list[Results], MlflowClient]) -> None:
    names = [run.info.run_name for run in runs(logged[1], "")]
    assert len(set(names)) == len(names) == 6


def test_iterates_are_metrics_by_step_of_a_run(
    logged: tuple[list[Results], MlflowClient],
) -> None:
    results, client = logged[0][0], logged[1]
    (run,) = runs(client, f"tags.`segtransfer.key` = '{results.identity}/ds-mi:3'")
    history = client.get_metric_history(run.info.run_id, "mean_miou/diagonal")
    assert {metric.step: metric.value for metric in history} == {
        step: results.headlines(f"ds-mi:{step}")["diagonal"] for step in (1, 2, 3)
    }
    assert run.data.metrics["mean_miou/diagonal"] == results.headlines("ds-mi:3")["diagonal"]


def test_an_experiment_shows_the_means_of_its_best_attack_under_the_same_names(
    logged: tuple[list[Results], MlflowClient],
) -> None:
    results, client = logged[0][0], logged[1]
    (parent,) = runs(client, f"tags.`segtransfer.key` = '{results.identity}'")
    (child,) = runs(client, f"tags.`segtransfer.key` = '{results.identity}/ds-mi:3'")
    assert parent.data.tags["segtransfer.best"] == "ds-mi:3"
    assert parent.data.metrics.keys() <= child.data.metrics.keys()
    assert parent.data.metrics.items() <= child.data.metrics.items()


def test_cells_of_many_models_are_only_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "data", count=2)
    nine = [toy(f"m{number}", seed=number) for number in range(9)]
    results = run_toy(
        tmp_path,
        data={"folder": str(tmp_path / "data"), "classes": CLASSES},
        models=nine,
        attacks=[{"preset": "noise", "eps": "8/255"}],
    )
    metrics = dict(experiments.attack_metrics(results, "noise"))
    assert len(metrics) < 30
    assert not [name for name in metrics if name.startswith(("miou/", "clean/"))]


def test_the_five_lines_of_the_tour_give_a_table_of_matrices(
    logged: tuple[list[Results], MlflowClient],
) -> None:
    page = (ROOT / "docs/how-to/mlflow.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    found: dict[str, Any] = {}
    mlflow.set_tracking_uri(logged[1].tracking_uri)
    try:
        exec(code, found)
    finally:
        mlflow.set_tracking_uri(None)
    for results in logged[0]:
        matrix = found["matrices"].loc[f"ds-mi:3 8/255 {results.identity[:8]}"]
        assert_frame_equal(matrix, results.matrix("ds-mi:3").round(2))


def test_gc_marks_the_runs_of_deleted_experiments_until_they_are_logged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    attacks = [{"preset": "noise", "eps": "8/255"}]
    gone = run_toy(tmp_path, name="gone", attacks=attacks)
    kept = run_toy(tmp_path, name="kept", attacks=attacks, seed=1)
    for results in (gone, kept):
        write_report(results)
        uri = log_results(results)
    where = gone.store.location
    command = ["store", "gc", where, "--experiments", "gone", "--yes"]
    said = CliRunner().invoke(app, command)
    assert "--mark-runs" in said.output
    said = CliRunner().invoke(app, ["store", "gc", where, "--mark-runs", "--yes"])
    assert "Tagged 2 runs" in said.output
    client = MlflowClient(tracking_uri=uri)

    def marked() -> set[str]:
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        found = client.search_runs(ids, "tags.segtransfer.deleted LIKE '20%'")
        return {run.data.tags["segtransfer.config"] for run in found}

    assert marked() == {gone.identity}
    assert (
        "no run of a deleted"
        in CliRunner().invoke(app, ["store", "gc", where, "--mark-runs"]).output
    )
    run_toy(tmp_path, name="gone", attacks=attacks)
    log_results(load_results(gone.store, gone.identity))
    assert marked() == set()


def test_source_of_a_run_is_verb_and_spec() -> None:
    tags = version_tags("segtransfer run specs/mine.yaml attacks.0.eps=2/255")
    assert tags["mlflow.source.name"] == "segtransfer run specs/mine.yaml"
    assert tags["segtransfer.command"].endswith("eps=2/255")
