"""Searches in MLflow: what is logged of a search and its trials, once."""

from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from orchestrator.report.found import write_found
from orchestrator.search import Found
from orchestrator.tracking import tracking_uri
from orchestrator.tracking.searches import log_search
from tests.orchestrator.report.founds import toy_found


def test_a_search_is_a_run_with_a_child_a_trial_and_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    found = toy_found(tmp_path)
    for trial in found.trials[:2]:
        found.results.store.save_trial(found.bench.identity, trial.number, one_attack(found))
    write_found(found)
    for _ in range(2):
        log_search(found)
    client = MlflowClient(tracking_uri=tracking_uri())
    (experiment,) = (e for e in client.search_experiments() if e.name == "toys")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    children = [run for run in runs if run is not parent]
    assert len(children) == 2
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert parent.data.metrics["best/transfer"] == max(
        trial.score.objectives["transfer"] for trial in found.trials[:10] if trial.score
    )
    assert parent.data.metrics["trials/pruned"] == 1
    confirmed = found.results.matrix("best-1:sign")
    assert parent.data.metrics["confirmed/best-1:sign/searched"] == confirmed.loc["a", "b"]
    assert parent.data.metrics["confirmed/best-1:sign/held-out"] == confirmed.loc["a", "c"]
    assert "best-1" in parent.data.tags["mlflow.note.content"]
    for run in children:
        assert {"transfer", "miou/a/b", "mean_miou/diagonal"} <= run.data.metrics.keys()
        assert "transforms.ds.low" in run.data.params
    names = {item.path for item in client.list_artifacts(parent.info.run_id, "search")}
    assert "search/summary.md" in names


def one_attack(found: Found) -> dict[str, Any]:
    """What is kept of a trial, of an attack that confirmed the search."""
    content = dict(found.results.content)
    made = content["attacks"][0]
    cells = [cell for cell in content["cells"] if cell[0] in (made["name"], "clean")]
    return {**content, "attacks": [made], "cells": cells}
