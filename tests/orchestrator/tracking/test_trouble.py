"""MLflow in trouble: each broken, locked or deleted part is one sentence, and no run is lost."""

import signal
import sqlite3
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.reporting.folder import write_report
from segtransfer.results import Results
from segtransfer.tracking import runs
from segtransfer.tracking.experiments import log_results
from segtransfer.tracking.places import TrackingError, tracking_uri
from segtransfer.tracking.runs import (
    NOTE_FILE,
    NOTE_TAG,
    TAG_CHARACTERS,
    open_run,
    read_run,
    short_tags,
)
from tests.orchestrator.servers import PASSWORD
from tests.orchestrator.toy_experiments import run_toy, toy_spec
from tests.orchestrator.tracking.test_team_mlflow import postgres

__all__ = ["postgres"]  # a fixture

runner = CliRunner()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    results = run_toy(tmp_path_factory.mktemp("toys"), name="toys", attacks=["fgsm"])
    write_report(results)
    return results


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with MLflow's tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path.read_bytes()


def torn(content: bytes) -> bytes:
    return content[:4096] + b"\xa5" * (len(content) // 2)


@pytest.mark.parametrize("kind", ["text", "torn", "cut", "folder", "file in the path"])
def test_broken_database_is_a_sentence_and_results_are_kept(
    kind: str, folder: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "mlflow.db"
    if kind == "folder":
        path.mkdir()
    elif kind == "file in the path":
        path.write_text("hello")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}/mlflow.db")
    else:
        whole = empty_database
        path.write_bytes({"text": b"hello", "torn": torn(whole), "cut": whole[:5000]}[kind])
    content = toy_spec(folder, attacks=["noise"])
    content["runtime"] = {"executor": "inline", "store": "store"}
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))
    answer = runner.invoke(app, ["run", "mine.yaml"])
    assert answer.exit_code == 0, answer.output
    first, second = answer.stderr.splitlines()
    assert first.startswith(f"MLflow at sqlite:///{path}")
    assert "could not be written: " in first
    assert second == f"To log later: segtransfer report {folder / 'store'} --log"
    again = runner.invoke(app, ["report", "store", "--log"])
    assert again.exit_code == 1
    assert "Traceback" not in answer.output + again.output


def test_locked_database_is_a_sentence(
    results: Results, folder: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mlflow.db").write_bytes(empty_database)
    other = sqlite3.connect(folder / "mlflow.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    connect = sqlite3.connect
    monkeypatch.setattr(runs.sqlite3, "connect", lambda path: connect(path, timeout=0.1))
    for call in (lambda: log_results(results), lambda: read_run("0" * 32)):
        with pytest.raises(TrackingError, match=r"mlflow\.db could not be .*: database is locked$"):
            call()
    other.close()


@pytest.mark.parametrize(
    "uri",
    ["nosuch://host/x", "mysql+nosuch://me:hunter2@127.0.0.1/x", "oracle://me:hunter2@host/x"],
)
def test_database_without_its_driver_is_a_sentence(
    uri: str, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError, match="could not be written") as caught:
        log_results(results)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_deleted_experiment_is_restored_and_gets_the_runs(
    results: Results, folder: Path, empty_database: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "mlflow.db").write_bytes(empty_database)
    client = MlflowClient(tracking_uri=log_results(results))
    experiment = client.get_experiment_by_name("toys")
    client.delete_experiment(experiment.experiment_id)
    log_results(results)
    assert "the deleted MLflow experiment 'toys' is restored" in caplog.text
    assert len(client.search_runs([experiment.experiment_id])) == 2


def test_deleted_parent_is_logged_again_with_its_children(
    results: Results, folder: Path, empty_database: bytes
) -> None:
    (folder / "mlflow.db").write_bytes(empty_database)
    client = MlflowClient(tracking_uri=log_results(results))
    ids = [client.get_experiment_by_name("toys").experiment_id]
    (parent,) = client.search_runs(ids, f"tags.`segtransfer.key` = '{results.identity}'")
    client.delete_run(parent.info.run_id)
    log_results(results)
    found = {run.info.run_id: run.data.tags.get(runs.PARENT_TAG) for run in client.search_runs(ids)}
    assert len(found) == 2
    assert set(found.values()) - {None} <= found.keys()


@pytest.mark.parametrize("name", ["a%20b", "c#d", "e?f", "g h&i=j", "k'l", "ü"])
def test_a_folder_of_any_name_holds_database_and_artifacts(
    name: str,
    results: Results,
    folder: Path,
    empty_database: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = folder / name
    place.mkdir()
    (place / "mlflow.db").write_bytes(empty_database)
    monkeypatch.chdir(place)
    client = MlflowClient(tracking_uri=log_results(results))
    ids = [client.get_experiment_by_name("toys").experiment_id]
    files = [
        i.path for run in client.search_runs(ids) for i in client.list_artifacts(run.info.run_id)
    ]
    assert "matrix.json" in files
    assert len(list(place.glob("mlartifacts/*/artifacts/matrix.json"))) == 1
    assert not [path for path in place.parent.iterdir() if path != place and any(path.iterdir())]


# -- lengths ----------------------------------------------------------------------------------

NOTE = "".join(f"| row {number} | 12.3 |\n" for number in range(2000))


@pytest.mark.parametrize("note", [NOTE, "x" * 20000, "ü" * 8001])
def test_note_longer_than_a_tag_ends_with_the_name_of_its_artifact(note: str) -> None:
    short = short_tags({NOTE_TAG: note})[NOTE_TAG]
    assert len(short) <= TAG_CHARACTERS
    head, _, end = short.rpartition("\n\n")
    assert end == f"This note is cut. The artifact {NOTE_FILE} has all {len(note)} characters."
    assert note.startswith(head)
    assert len(head) > TAG_CHARACTERS - 200


def test_long_tags_are_cut_and_short_tags_are_unchanged() -> None:
    tags = {"a": "x" * TAG_CHARACTERS, NOTE_TAG: "note", "b": "y" * (TAG_CHARACTERS + 1)}
    short = short_tags(tags)
    assert (short["a"], short[NOTE_TAG]) == (tags["a"], "note")
    assert short["b"] == "y" * (TAG_CHARACTERS - 1) + "…"


def check_long_note(client: MlflowClient, uri: str) -> None:
    """A note that is too long is logged, and its artifact holds all of it."""
    experiment = runs.experiment_named(client, "long", uri)
    for digest in ("first", "second"):
        run, changed = open_run(client, experiment, "key", "run", digest, {NOTE_TAG: NOTE})
        assert changed
    shown = client.get_run(run.info.run_id)
    assert len(shown.data.tags[NOTE_TAG]) <= TAG_CHARACTERS
    local = client.download_artifacts(run.info.run_id, NOTE_FILE)
    assert Path(local).read_text() == NOTE


def test_a_long_note_is_an_artifact_as_well(folder: Path, empty_database: bytes) -> None:
    (folder / "mlflow.db").write_bytes(empty_database)
    check_long_note(MlflowClient(tracking_uri=tracking_uri()), tracking_uri())


@pytest.mark.slow
def test_a_long_note_fits_postgresql(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    signal.alarm(300)  # MLflow makes its tables
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    client = MlflowClient(tracking_uri=postgres)
    check_long_note(client, postgres)
    (run,) = client.search_runs([client.get_experiment_by_name("long").experiment_id])
    with pytest.raises(Exception, match=r"8000|too long"):
        client.create_run(run.info.experiment_id, tags={NOTE_TAG: NOTE})


# -- comparisons ------------------------------------------------------------------------------


def test_compare_logs_only_if_the_experiment_is_logged(results: Results, folder: Path) -> None:
    compare = ["compare", "fgsm", "fgsm", "--store", results.store.location]
    answer = runner.invoke(app, compare)
    assert answer.exit_code == 0, answer.output
    assert "Not logged to MLflow, because toys is not logged" in answer.output.replace("\n", " ")
    assert not (folder / "mlflow.db").exists()
    log_results(results)
    answer = runner.invoke(app, compare)
    assert answer.exit_code == 0, answer.output
    assert "MLflow: mlflow ui" in answer.output
    client = MlflowClient(tracking_uri=tracking_uri())
    for name, count in (("toys", 2), ("toys comparisons", 1)):
        ids = [client.get_experiment_by_name(name).experiment_id]
        assert len(client.search_runs(ids)) == count
