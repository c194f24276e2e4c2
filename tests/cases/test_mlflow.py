"""MLflow in trouble at other places: locks, files in the way, deleted parts and other verbs."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner, Result

from segtransfer.cli import app
from segtransfer.tracking import runs
from tests.cases.user import assert_scores, command, told

TRACKED = {"runtime": {"tracking": True}}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with MLflow's tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path.read_bytes()


@pytest.fixture
def database(folder: Path, tables: bytes) -> Path:
    (folder / "mlflow.db").write_bytes(tables)
    return folder / "mlflow.db"


@pytest.fixture
def lock(database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another program holds the database, and nobody waits for long."""
    connect = sqlite3.connect
    monkeypatch.setattr(
        runs.sqlite3,
        "connect",
        lambda path, **options: connect(path, **{"timeout": 0.1, **options}),
    )
    other = connect(database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    yield
    other.close()


def verb(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def not_logged(answer: Result, said: str) -> None:
    """The results are there, and one warning says how to log them later."""
    assert_scores(answer)
    first, second = answer.stderr.splitlines()[-2:]
    assert "could not be written: " in first
    assert said in first
    assert second.startswith("To log later: segtransfer report ")
    assert "Traceback" not in answer.output


@pytest.mark.usefixtures("lock")
def test_a_locked_database_costs_a_warning_in_every_verb(folder: Path) -> None:
    not_logged(command(**TRACKED), "database is locked")
    report = verb("report", "store", "--log")
    assert report.exit_code == 1
    assert "database is locked" in told(report)
    required = command("run", "spec.yaml", "--require-tracking", **TRACKED)
    assert required.exit_code == 1
    assert "database is locked" in told(required)


def test_a_file_in_the_place_of_artifacts_costs_a_warning(database: Path) -> None:
    (database.parent / "mlartifacts").write_text("a file")
    not_logged(command(**TRACKED), "mlartifacts")


@pytest.mark.parametrize("uri", ["{folder}/a-file", "file://{folder}/a-file/runs"])
def test_a_file_in_the_place_of_a_tracking_folder_costs_a_warning(
    uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a-file").write_text("hello")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(folder=folder))
    not_logged(command(**TRACKED), "")


def experiment(database: Path) -> tuple[MlflowClient, Any]:
    client = MlflowClient(tracking_uri=f"sqlite:///{database}")
    return client, client.get_experiment_by_name("spec")


def test_deleted_parts_are_logged_again(database: Path) -> None:
    """First the experiment, then a child, then all runs: each time the same line logs them."""
    assert_scores(command(**TRACKED))
    client, found = experiment(database)
    ids = [found.experiment_id]
    client.delete_experiment(found.experiment_id)
    assert_scores(command(**TRACKED))
    assert experiment(database)[1].lifecycle_stage == "active"
    before = client.search_runs(ids)
    assert len(before) == 2
    (child,) = [run for run in before if runs.PARENT_TAG in run.data.tags]
    client.delete_run(child.info.run_id)
    assert_scores(command(**TRACKED))
    assert len(client.search_runs(ids)) == 2
    for run in client.search_runs(ids):
        client.delete_run(run.info.run_id)
    assert verb("report", "store", "--log").exit_code == 0
    assert len(client.search_runs(ids)) == 2


def test_compare_after_the_experiment_was_deleted_or_the_database_broke(database: Path) -> None:
    assert_scores(command(**TRACKED))
    client, found = experiment(database)
    client.delete_experiment(found.experiment_id)
    answer = verb("compare", "noise", "noise", "--store", "store")
    assert answer.exit_code == 0, answer.output
    assert "Not logged to MLflow, because spec is not logged. To log it first: " in told(answer)
    database.write_text("hello")
    answer = verb("compare", "noise", "noise", "--store", "store")
    assert answer.exit_code == 0, answer.output
    assert "MLflow at sqlite:///" in told(answer)
    assert "Traceback" not in answer.output
