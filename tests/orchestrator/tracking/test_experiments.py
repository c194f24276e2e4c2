"""Experiments in MLflow: what is logged, that twice is as once, that its absence ends nothing."""

import json
import re
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from segtransfer.reporting.folder import write_report
from segtransfer.results import Results, load_results
from segtransfer.runtime.interrupts import Terminated
from segtransfer.tracking import experiments, views
from segtransfer.tracking.experiments import log_results
from segtransfer.tracking.places import TrackingError, tracking_uri
from segtransfer.tracking.runs import runs_address
from tests.conftest import ROOT
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


def test_parent_run_has_a_child_per_attack(logged: tuple[Results, MlflowClient]) -> None:
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


def test_logging_twice_leaves_a_value_per_metric(logged: tuple[Results, MlflowClient]) -> None:
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
    assert files == {"matrix.png", "matrix.json", "images"}


def test_every_attack_has_a_picture_for_the_image_grid(
    logged: tuple[Results, MlflowClient],
) -> None:
    runs = _runs(logged[1])
    del runs["parent"]
    for run in runs.values():
        images = [i.path for i in logged[1].list_artifacts(run.info.run_id, "images")]
        assert sorted(path.rpartition(".")[2] for path in images) == ["png", "webp"]
        assert all(path.startswith("images/matrix+step+0+") for path in images)
        assert run.data.tags["mlflow.loggedImages"] == "True"


def test_all_runs_have_the_scored_images_as_data_set(
    logged: tuple[Results, MlflowClient],
) -> None:
    inputs = [run.inputs.dataset_inputs for run in _runs(logged[1]).values()]
    ((shown,),) = {tuple((d.dataset.name, d.dataset.digest) for d in found) for found in inputs}
    data = _runs(logged[1])["pgd"].data.tags["segtransfer.data"]
    assert shown == (logged[0].manifest.dataset, data[:16])


def test_view_of_an_experiment_shows_existing_metrics(
    logged: tuple[Results, MlflowClient],
) -> None:
    client = logged[1]
    run = _runs(client)["ds-mi"]
    tag = client.get_experiment(run.info.experiment_id).tags[views.VIEW_TAG]
    state = json.loads(json.loads(tag)["state"])
    there = {f"metrics.`{name}`" for name in run.data.metrics}
    there |= {f"tags.`{name}`" for name in run.data.tags} | {"attributes.`Dataset`"}
    # Two toys are of one backbone, so that there is no mean over others.
    others = {f"metrics.`mean_{metric}/cross_backbone`" for metric in ("miou", "drop")}
    assert set(state["selectedColumns"]) - there == others
    images, bars, parallel = state["compareRunCharts"]
    assert images["imageKeys"] == ["matrix"]
    drawn = {f"metrics.`{name}`" for name in (bars["metricKey"], *parallel["selectedMetrics"])}
    assert drawn <= there | others
    assert set(parallel["selectedParams"]) <= run.data.params.keys()
    ids = [run.info.experiment_id]
    found = client.search_runs(ids, state["searchFilter"], order_by=[state["orderByKey"]])
    assert {r.data.tags["segtransfer.attack"] for r in found} == {"noise", "pgd", "ds-mi"}


def test_view_saved_by_a_user_is_kept(
    logged: tuple[Results, MlflowClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    results, client = logged
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    experiment = client.get_experiment_by_name("toys")
    before = experiment.tags[views.VIEW_TAG]
    client.set_experiment_tag(experiment.experiment_id, views.VIEW_TAG, "theirs")
    log_results(results)
    assert client.get_experiment_by_name("toys").tags[views.VIEW_TAG] == "theirs"
    client.set_experiment_tag(experiment.experiment_id, views.VIEW_TAG, before)


def test_the_address_names_the_experiment_and_its_view(
    logged: tuple[Results, MlflowClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = logged[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    number = client.get_experiment_by_name("toys").experiment_id
    address = runs_address(client.tracking_uri, "toys")
    assert address.startswith(f"http://127.0.0.1:5000/#/experiments/{number}/runs?")
    assert f"viewStateShareKey={views.VIEW_TAG.rpartition('.')[2]}" in address


def test_the_search_of_the_tour_finds_attacks(logged: tuple[Results, MlflowClient]) -> None:
    page = (ROOT / "docs/how-to/mlflow.md").read_text()
    (wanted,) = re.findall(r"^    (tags\..*)$", page, flags=re.MULTILINE)
    number = logged[1].get_experiment_by_name("toys").experiment_id
    found = logged[1].search_runs([number], wanted.replace("< 4", "< 400"))
    assert [run.info.run_name for run in found] == [f"ds-mi 8/255 {logged[0].identity[:8]}"]


def test_tables_are_aligned_by_cell_with_miou_first(
    logged: tuple[Results, MlflowClient], tmp_path: Path
) -> None:
    results, client = logged
    run = _runs(client)["pgd"]
    table = json.loads(
        Path(client.download_artifacts(run.info.run_id, "matrix.json", str(tmp_path))).read_text()
    )
    assert table["columns"][:2] == ["cell", "miou"]
    assert table["columns"][-3:] == ["source", "target", "group"]
    assert [line[0] for line in table["data"]] == ["a → a", "a → b", "b → a", "b → b"]
    assert table["data"][1][1] == round(results.matrix("pgd").loc["a", "b"], 2)


def test_empty_mlflow_is_filled_from_the_store(
    logged: tuple[Results, MlflowClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, client = logged
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    again = MlflowClient(tracking_uri=log_results(load_results(results.store, results.identity)))
    assert again.tracking_uri != client.tracking_uri
    assert _shown(again) == _shown(client)


def _shown(client: MlflowClient) -> dict[str, tuple]:
    """All that the runs of toys show, without what differs between two that are alike."""
    runs = _runs(client)
    parent = runs["parent"].info.run_id
    return {
        name: (
            run.info.run_name,
            run.info.status,
            run.data.metrics,
            run.data.params,
            {k: v for k, v in run.data.tags.items() if k != "mlflow.parentRunId"},
            run.data.tags.get("mlflow.parentRunId") == parent,
            [(d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs],
            {
                item.path.partition("+")[0]: item.is_dir
                for folder in ("", "report", "images")
                for item in client.list_artifacts(run.info.run_id, folder)
            },
        )
        for name, run in runs.items()
    }


def test_the_attack_and_its_versions_are_recorded(logged: tuple[Results, MlflowClient]) -> None:
    run = _runs(logged[1])["ds-mi"]
    assert run.data.params["transforms.0.kind"] == "ds"
    assert run.data.params["eps"] == "8/255"
    assert run.data.tags["version.torch"]


def test_in_the_working_folder_of_a_ray_job_mlflow_has_to_be_named(
    logged: tuple[Results, MlflowClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "session_1" / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(TrackingError, match=r"which Ray deletes.*--env MLFLOW_TRACKING_URI"):
        log_results(logged[0])
    assert not list(folder.iterdir())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert tracking_uri() == "http://mlflow:5000"


def test_unreachable_server_is_an_error_in_a_sentence(
    logged: tuple[Results, MlflowClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9"):
        log_results(logged[0])


def test_run_with_interrupted_logging_is_killed_until_logged_again(
    logged: tuple[Results, MlflowClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*arguments: object) -> None:
        raise Terminated

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with monkeypatch.context() as patch:
        patch.setattr(experiments, "log_matrix", ended)
        with pytest.raises(Terminated):
            log_results(logged[0])
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    states = {name: run.info.status for name, run in _runs(client).items()}
    assert states == {"parent": "FINISHED", logged[0].attacks[0]: "KILLED"}
    log_results(logged[0])
    assert {run.info.status for run in _runs(client).values()} == {"FINISHED"}


def test_names_refused_by_mlflow_are_refused_as_model_names(tmp_path: Path) -> None:
    from segtransfer.errors import InputError
    from tests.orchestrator.toy_experiments import toy, toy_experiment

    with pytest.raises(InputError, match="name"):
        toy_experiment(tmp_path, models=[toy("a->b")])
