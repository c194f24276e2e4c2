"""Searches in MLflow: a parent run a search, a child run a trial."""

from collections import Counter

import numpy as np
from mlflow.entities import Experiment, Param, Run
from mlflow.tracking import MlflowClient

from orchestrator.report.found import found_folder, summary
from orchestrator.results import Results
from orchestrator.search import Found
from orchestrator.search.bench import trial_results
from orchestrator.search.confirm import pairs_by_target
from orchestrator.search.study import Trial, ranked
from orchestrator.tracking.experiments import (
    attack_metrics,
    attack_tags,
    log_data,
    log_matrix,
    provenance,
    status_of,
)
from orchestrator.tracking.runs import experiment_named, filled, log_metrics, open_run, writing


def log_search(found: Found) -> str:
    """Log a search as a run, and each of its trials as a child with its matrix; returns the URI.

    Finds its runs again, as ``log_results`` does. Raises TrackingError.
    """
    bench, store = found.bench, found.results.store
    with writing() as (client, uri):
        experiment = experiment_named(client, bench.search.name, uri)
        parent = _log_search(client, experiment, found)
        for trial in found.trials:
            results = trial_results(bench.identity, trial.number, store)
            if results is not None and trial.score is not None:
                _log_trial(client, experiment, parent.info.run_id, trial, results)
    return uri


def _log_search(client: MlflowClient, experiment: Experiment, found: Found) -> Run:
    bench, digest = found.bench, found.results.digest
    tags = {
        "mlflow.note.content": summary(found),
        "segtransfer.confirmed": found.results.identity,
    } | provenance(found.results)
    name = f"{bench.search.name}-{bench.identity[:8]}"
    run, changed = open_run(client, experiment, bench.identity, name, digest, tags)
    if changed:
        with filled(client, run, digest, status_of(found.results)):
            first = ranked(found.trials)[0].score
            best = {f"best/{k}": v for k, v in first.objectives.items()} if first else {}
            states = Counter(f"trials/{trial.state}" for trial in found.trials)
            counts = {name: float(n) for name, n in states.items()}
            log_metrics(client, run, best | counts | _confirmed(found))
            client.log_artifacts(run.info.run_id, str(found_folder(found)), "search")
            client.log_dict(run.info.run_id, bench.search.model_dump(mode="json"), "search.json")
            log_data(client, run, found.results)
    return run


def _confirmed(found: Found) -> dict[str, float]:
    """Mean mIoU of the best and of the baselines on what the search never saw."""
    results = found.results
    return {
        f"confirmed/{attack}/{where}": float(np.mean([matrix.loc[pair] for pair in pairs]))
        for attack in results.attacks
        for matrix in [results.matrix(attack)]
        for where, pairs in pairs_by_target(found.bench.search, results).items()
    }


def _log_trial(
    client: MlflowClient, experiment: Experiment, parent: str, trial: Trial, results: Results
) -> None:
    (attack,) = results.attacks
    tags = attack_tags(results, attack)
    tags |= {"mlflow.parentRunId": parent, "segtransfer.state": trial.state}
    run, changed = open_run(client, experiment, results.identity, attack, results.digest, tags)
    if not changed:
        return
    with filled(client, run, results.digest, status_of(results)):
        params = [Param(name, str(value)) for name, value in trial.point.items()]
        client.log_batch(run.info.run_id, params=params)
        assert trial.score is not None
        metrics = dict(trial.score.objectives) | dict(attack_metrics(results, attack))
        log_metrics(client, run, metrics)
        log_matrix(client, run, results, attack)
