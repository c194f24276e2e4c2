"""Searches in MLflow: a parent run a search, a child run a trial."""

from collections import Counter
from dataclasses import asdict

import numpy as np
from mlflow.entities import Experiment, Param, Run
from mlflow.tracking import MlflowClient

from segtransfer.experiment.keys import key_of
from segtransfer.reporting.search import found_folder, summary
from segtransfer.results import Results
from segtransfer.searches import SearchResult
from segtransfer.searches.confirmation import pairs_by_target
from segtransfer.searches.context import trial_results
from segtransfer.searches.optuna_study import Trial, ranked
from segtransfer.tracking.experiments import (
    attack_metrics,
    attack_tags,
    log_data,
    log_matrix,
    provenance,
    status_of,
)
from segtransfer.tracking.runs import (
    experiment_named,
    filled,
    log_metrics,
    made_with,
    open_run,
    writing,
)

STATES = ("complete", "pruned", "failed", "running")


def log_search(found: SearchResult) -> str:
    """Log a search as a run, and each of its trials as a child with its matrix; returns the URI.

    A trial that failed is a child without one, FAILED, with the reason as a tag. Finds its runs
    again, as ``log_results`` does. Raises TrackingError.
    """
    context, store = found.context, found.results.store
    with writing() as (client, uri):
        experiment = experiment_named(client, context.search.name, uri)
        parent = _log_search(client, experiment, found)
        for trial in found.trials:
            if trial.state == "failed":
                _log_failed(client, experiment, parent.info.run_id, context.identity, trial)
                continue
            results = trial_results(context.identity, trial.number, store)
            if results is not None and trial.score is not None:
                _log_trial(client, experiment, parent.info.run_id, trial, results)
    return uri


def _log_search(client: MlflowClient, experiment: Experiment, found: SearchResult) -> Run:
    context, digest = found.context, _digest(found)
    tags = {
        "mlflow.note.content": summary(found),
        "segtransfer.confirmed": found.results.identity,
    } | provenance(found.results)
    name = f"{context.search.name}-{context.identity[:8]}"
    run, changed = open_run(client, experiment, context.identity, name, digest, tags)
    if changed:
        with filled(client, run, digest, status_of(found.results)):
            first = ranked(found.trials)[0].score
            best = {f"best/{k}": v for k, v in first.objectives.items()} if first else {}
            states = Counter(trial.state for trial in found.trials)
            counts = {f"trials/{state}": float(states[state]) for state in STATES}
            log_metrics(client, run, best | counts | _confirmed(found))
            client.log_artifacts(run.info.run_id, str(found_folder(found)), "search")
            client.log_dict(run.info.run_id, context.search.model_dump(mode="json"), "search.json")
            log_data(client, run, found.results)
    return run


def _digest(found: SearchResult) -> str:
    """Of all that a search's run shows: more trials may well leave the confirmation as it was."""
    trials = [
        [t.number, t.state, dict(t.point), t.reason, None if t.score is None else asdict(t.score)]
        for t in found.trials
    ]
    return key_of({"confirmed": found.results.digest, "trials": trials})


def _confirmed(found: SearchResult) -> dict[str, float]:
    """Mean mIoU of the best and of the baselines on what the search never saw, as
    ``confirmed/<attack>/<searched or held-out>/<same_backbone or cross_backbone>``."""
    results, means = found.results, {}
    for where, pairs in pairs_by_target(found.context.search, results).items():
        for attack in results.attacks:
            matrix = results.matrix(attack)
            mean = float(np.mean([matrix.loc[pair] for pair in pairs]))
            means[f"confirmed/{attack}/{where.role}/{where.group}"] = mean
    return means


def _log_failed(
    client: MlflowClient, experiment: Experiment, parent: str, search: str, trial: Trial
) -> None:
    tags = made_with() | {
        "mlflow.parentRunId": parent,
        "mlflow.note.content": trial.reason,
        "segtransfer.state": trial.state,
        "segtransfer.reason": trial.reason,
    }
    key, digest = f"{search}-{trial.number}", key_of({"failed": trial.reason})
    run, changed = open_run(client, experiment, key, f"trial-{trial.number}", digest, tags)
    if changed:
        with filled(client, run, digest, "FAILED"):
            client.log_batch(run.info.run_id, params=_params(trial))


def _params(trial: Trial) -> list[Param]:
    return [Param(name, str(value)) for name, value in trial.point.items()]


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
        client.log_batch(run.info.run_id, params=_params(trial))
        assert trial.score is not None
        metrics = dict(trial.score.objectives) | dict(attack_metrics(results, attack))
        log_metrics(client, run, metrics)
        log_matrix(client, run, results, attack)
