"""Runs that show results as they are: found without MLflow, and only if MLflow would find them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from segtransfer.reporting.folder import write_report
from segtransfer.results import Results
from segtransfer.tracking.current import current_address
from segtransfer.tracking.experiments import log_results
from segtransfer.tracking.places import DELETED_TAG, DIGEST_TAG, PARENT_TAG
from segtransfer.tracking.runs import runs_address
from tests.orchestrator.toy_experiments import run_toy

NAME = "current"


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, str]:
    folder = tmp_path_factory.mktemp("current")
    results = run_toy(folder, name=NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        write_report(results)
        return results, log_results(results)


def _runs(uri: str) -> list[Run]:
    client = MlflowClient(tracking_uri=uri)
    return client.search_runs([client.get_experiment_by_name(NAME).experiment_id])


def test_address_of_logged_results_is_that_of_mlflow(
    logged: tuple[Results, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    results, uri = logged
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert current_address(results, uri) == runs_address(uri, NAME)


def test_other_results_are_not_current(logged: tuple[Results, str]) -> None:
    results, uri = logged
    changed = replace(results, identity="0" * 64)
    assert current_address(changed, uri) is None
    counts = {cell: found + 1 for cell, found in results.counts.items()}
    assert current_address(replace(results, counts=counts), uri) is None


Spoil = Callable[[MlflowClient, str], None]
SPOILED: dict[str, tuple[Spoil, Spoil]] = {
    "deleted in MLflow": (
        lambda client, run: client.delete_run(run),
        lambda client, run: client.restore_run(run),
    ),
    "marked as deleted from the store": (
        lambda client, run: client.set_tag(run, DELETED_TAG, "2026-01-01"),
        lambda client, run: client.delete_tag(run, DELETED_TAG),
    ),
    "unfinished": (
        lambda client, run: client.update_run(run, status="RUNNING"),
        lambda client, run: client.update_run(run, status="FINISHED"),
    ),
}


@pytest.mark.parametrize("state", SPOILED)
def test_results_with_a_spoiled_run_are_not_current(
    logged: tuple[Results, str], state: str
) -> None:
    results, uri = logged
    client, (spoil, mend) = MlflowClient(tracking_uri=uri), SPOILED[state]
    runs = _runs(uri)
    assert len(runs) == 1 + len(results.attacks)
    for run in runs:
        spoil(client, run.info.run_id)
        assert current_address(results, uri) is None
        mend(client, run.info.run_id)
        assert current_address(results, uri) is not None


@pytest.mark.parametrize("tag", [DIGEST_TAG, PARENT_TAG])
def test_results_with_an_outdated_or_moved_run_are_not_current(
    logged: tuple[Results, str], tag: str
) -> None:
    results, uri = logged
    client = MlflowClient(tracking_uri=uri)
    run = next(run for run in _runs(uri) if PARENT_TAG in run.data.tags)
    client.set_tag(run.info.run_id, tag, "another")
    assert current_address(results, uri) is None
    client.set_tag(run.info.run_id, tag, run.data.tags[tag])
    assert current_address(results, uri) is not None


def test_database_that_cannot_be_read_shows_nothing(
    logged: tuple[Results, str], tmp_path: Path
) -> None:
    (tmp_path / "other.db").write_text("no database")
    (tmp_path / "empty.db").write_text("")
    for uri in (
        f"sqlite:///{tmp_path / 'missing.db'}",
        f"sqlite:///{tmp_path / 'other.db'}",
        f"sqlite:///{tmp_path / 'empty.db'}",
        "http://127.0.0.1:9",
    ):
        assert current_address(logged[0], uri) is None
    assert not (tmp_path / "missing.db").exists()
