"""Searches in MLflow: what is logged of a search and its trials, once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from segtransfer.reporting.search import write_search
from segtransfer.searches import SearchResult
from segtransfer.searches.against import AgainstRandom
from segtransfer.tracking.places import tracking_uri
from segtransfer.tracking.searches import log_search
from tests.orchestrator.reporting.made_results import toy_result


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """A search that is through, with what is kept of its first two trials."""
    found = toy_result(tmp_path_factory.mktemp("found"))
    for trial in found.trials[:2]:
        found.results.store.save_trial(found.context.identity, trial.number, one_attack(found))
    write_search(found)
    return found


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return MlflowClient(tracking_uri=tracking_uri())


def runs_of(client: MlflowClient) -> tuple[Run, list[Run]]:
    """The search's run, and those of its trials."""
    (experiment,) = (e for e in client.search_experiments() if e.name == "toys")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    return parent, [run for run in runs if run is not parent]


def test_search_is_a_run_with_a_child_per_trial_and_is_logged_once(
    found: SearchResult, client: MlflowClient
) -> None:
    for _ in range(2):
        log_search(found)
    parent, children = runs_of(client)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert parent.data.metrics["best/transfer"] == max(
        trial.score.objectives["transfer"] for trial in found.trials[:10] if trial.score
    )
    assert parent.data.metrics["trials/pruned"] == 1
    confirmed = found.results.matrix("best-1:sign")
    means = {k: v for k, v in parent.data.metrics.items() if k.startswith("confirmed/best-1:sign/")}
    assert means == {
        "confirmed/best-1:sign/searched/same_backbone": confirmed.loc["a", "b"],
        "confirmed/best-1:sign/held-out/cross_backbone": confirmed.loc["a", "c"],
    }
    assert "best-1" in parent.data.tags["mlflow.note.content"]
    through = [run for run in children if run.info.status == "FINISHED"]
    assert (len(through), len(children)) == (2, 3), "one failed"
    for run in through:
        assert {"transfer", "miou/a/b", "mean_miou/diagonal"} <= run.data.metrics.keys()
        assert "transforms.ds.low" in run.data.params
    names = {item.path for item in client.list_artifacts(parent.info.run_id, "search")}
    assert "search/summary.md" in names


def test_more_trials_with_the_same_best_update_the_run(
    found: SearchResult, client: MlflowClient
) -> None:
    log_search(replace(found, trials=found.trials[:10]))
    assert runs_of(client)[0].data.metrics["trials/pruned"] == 0
    log_search(found)
    parent, _ = runs_of(client)
    counts = {name: parent.data.metrics[f"trials/{name}"] for name in ("complete", "pruned")}
    assert counts == {"complete": 10, "pruned": 1}
    assert parent.info.status == "FINISHED"


def test_failed_trial_is_a_failed_run_with_its_reason(
    found: SearchResult, client: MlflowClient
) -> None:
    for _ in range(2):
        log_search(replace(found, trials=found.trials[9:]))
    parent, children = runs_of(client)
    (failed,) = (run for run in children if run.info.status == "FAILED")
    assert failed.info.run_name == f"trial-11 {found.context.identity[:8]}"
    assert failed.data.tags["segtransfer.reason"] == "2 tasks failed: no memory"
    assert failed.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert set(failed.data.params) == set(found.trials[11].point)
    assert parent.data.metrics["trials/failed"] == 1


def test_comparison_with_random_search_is_logged(found: SearchResult, client: MlflowClient) -> None:
    log_search(found)
    assert "random/mean" not in runs_of(client)[0].data.metrics
    against = AgainstRandom(50.0, 80.0, (40.0, 42.0, 41.0), (80.0,) * 3)
    log_search(replace(found, against=against))
    metrics = runs_of(client)[0].data.metrics
    assert metrics["random/mean"] == pytest.approx(41.0)
    assert (metrics["random/low"], metrics["random/high"]) == pytest.approx(against.expected)


def test_eps_and_step_size_are_logged_as_fractions_of_255(
    found: SearchResult, client: MlflowClient
) -> None:
    trial = replace(found.trials[11], point={"step_size": 2 / 255, "momentum.mu": 0.75})
    log_search(replace(found, trials=[*found.trials[:11], trial]))
    _, children = runs_of(client)
    (failed,) = (run for run in children if run.info.status == "FAILED")
    assert failed.data.params["step_size"] == "2/255"
    assert failed.data.params["momentum.mu"] == "0.75"


def one_attack(found: SearchResult) -> dict[str, Any]:
    """What is kept of a trial, of an attack that confirmed the search."""
    content = found.results.manifest.stored()
    made = content["attacks"][0]
    cells = [cell for cell in content["cells"] if cell[0] in (made["name"], "clean")]
    return {**content, "attacks": [made], "cells": cells}
