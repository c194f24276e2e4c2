"""Experiments in MLflow: what is logged, that twice is as once, that its absence ends nothing."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from orchestrator.report.folder import write_report
from orchestrator.results import Results
from orchestrator.tracking import TrackingError, log_results
from tests.orchestrator.toy_experiments import run_toy


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, MlflowClient]:
    """One experiment, logged twice."""
    folder = tmp_path_factory.mktemp("tracking")
    results = run_toy(folder, name="toys")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        write_report(results)
        uri = log_results(results)
        log_results(results)
    return results, MlflowClient(tracking_uri=uri)


def _runs(client: MlflowClient) -> dict:
    experiment = client.get_experiment_by_name("toys")
    runs = client.search_runs([experiment.experiment_id])
    named = {run.data.tags.get("segtransfer.attack", "parent"): run for run in runs}
    assert len(named) == len(runs), "a run was made twice"
    return named


def test_a_parent_run_has_one_child_an_attack(logged: tuple[Results, MlflowClient]) -> None:
    runs = _runs(logged[1])
    assert set(runs) == {"parent", "noise", "pgd", "ds-mi"}
    parent = runs.pop("parent")
    assert {r.data.tags["mlflow.parentRunId"] for r in runs.values()} == {parent.info.run_id}
    assert {r.info.status for r in runs.values()} == {"FINISHED"}


def test_every_cell_is_a_metric_of_the_matrix(logged: tuple[Results, MlflowClient]) -> None:
    results, client = logged
    for attack in results.attacks:
        metrics = _runs(client)[attack].data.metrics
        matrix = results.matrix(attack)
        for source in results.sources:
            for target in results.targets:
                assert metrics[f"miou/{source}/{target}"] == matrix.loc[source, target]
        assert metrics["mean_miou/diagonal"] == results.headlines(attack)["diagonal"]


def test_logging_twice_leaves_one_value_a_metric(logged: tuple[Results, MlflowClient]) -> None:
    run = _runs(logged[1])["pgd"]
    for name in run.data.metrics:
        assert len(logged[1].get_metric_history(run.info.run_id, name)) == 1


def test_a_run_shows_its_matrix_as_note_picture_and_table(
    logged: tuple[Results, MlflowClient],
) -> None:
    client = logged[1]
    run = _runs(client)["ds-mi"]
    assert "| source \\ target | a | b |" in run.data.tags["mlflow.note.content"]
    files = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert files == {"matrix-ds-mi.png", "matrix.json"}


def test_the_attack_and_its_versions_are_recorded(logged: tuple[Results, MlflowClient]) -> None:
    run = _runs(logged[1])["ds-mi"]
    assert run.data.params["transforms.0.kind"] == "ds"
    assert float(run.data.params["eps"]) == 8 / 255
    assert run.data.tags["version.torch"]


def test_an_unreachable_server_is_one_error(
    logged: tuple[Results, MlflowClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9"):
        log_results(logged[0])


def test_names_that_mlflow_refuses_cannot_be_model_names(tmp_path: Path) -> None:
    from tasks.errors import InputError
    from tests.orchestrator.toy_experiments import toy, toy_experiment

    with pytest.raises(InputError, match="name"):
        toy_experiment(tmp_path, models=[toy("a->b")])
