"""Searches in MLflow: a parent run per search, a child run per trial."""

from collections import Counter
from dataclasses import asdict

import numpy as np
from mlflow.entities import Experiment, Run
from mlflow.tracking import MlflowClient

from segtransfer.experiment.keys import key_of
from segtransfer.reporting.search import search_folder, summary
from segtransfer.results import Results
from segtransfer.searches import SearchResult
from segtransfer.searches.confirmation import pairs_by_target
from segtransfer.searches.context import trial_results
from segtransfer.searches.optuna_study import Trial, ranked
from segtransfer.tasks.schema import written
from segtransfer.tracking.experiments import (
    attack_metrics,
    attack_tags,
    log_data,
    log_matrix,
    provenance,
    span_of,
    status_of,
)
from segtransfer.tracking.params import attack_params
from segtransfer.tracking.runs import (
    KIND_TAG,
    experiment_named,
    filled,
    log_metrics,
    log_params,
    open_run,
    version_tags,
    writing,
)

COUNTED_STATES = ("complete", "pruned", "failed", "running")


def log_search(result: SearchResult) -> str:
    """Log a search as a run, and its trials as child runs with their matrices.

    The run of a failed trial is FAILED, has no matrix, and has the reason as a tag. Runs are
    written only if their content changed, so logging is idempotent.

    Args:
        result: The search, whose report folder must exist.

    Returns:
        The tracking URI.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    context, store = result.context, result.results.store
    with writing() as (client, uri):
        experiment = experiment_named(client, context.search.name, uri)
        parent = _log_search(client, experiment, result)
        for trial in result.trials:
            if trial.state == "failed":
                _log_failed(client, experiment, parent.info.run_id, context.identity, trial)
                continue
            results = trial_results(context.identity, trial.number, store)
            if results is not None and trial.score is not None:
                _log_trial(client, experiment, parent.info.run_id, trial, results)
    return uri


def _log_search(client: MlflowClient, experiment: Experiment, result: SearchResult) -> Run:
    context, digest = result.context, _digest(result)
    tags = {
        "mlflow.note.content": summary(result),
        KIND_TAG: "search",
        "segtransfer.confirmed": result.results.identity,
    } | provenance(result.results)
    name = f"{context.search.name}-{context.identity[:8]}"
    run, changed = open_run(client, experiment, context.identity, name, digest, tags)
    if changed:
        with filled(client, run, digest, status_of(result.results)):
            first = ranked(result.trials)[0].score
            best = {f"best/{k}": v for k, v in first.objectives.items()} if first else {}
            states = Counter(trial.state for trial in result.trials)
            counts = {f"trials/{state}": float(states[state]) for state in COUNTED_STATES}
            log_metrics(client, run, best | counts | _confirmed(result) | _random(result))
            client.log_artifacts(run.info.run_id, str(search_folder(result)), "search")
            client.log_dict(run.info.run_id, context.search.model_dump(mode="json"), "search.json")
            log_data(client, run, result.results)
    return run


def _digest(result: SearchResult) -> str:
    """Return a hash of a search's trials and confirmation.

    New trials can leave the confirmation unchanged, so its digest does not suffice.
    """
    trials = [
        [t.number, t.state, dict(t.point), t.reason, None if t.score is None else asdict(t.score)]
        for t in result.trials
    ]
    against = {} if result.against is None else {"against": asdict(result.against)}
    return key_of({"confirmed": result.results.digest, "trials": trials, **against})


def _random(result: SearchResult) -> dict[str, float]:
    """Return the best transfer of random search and its prediction interval, in points."""
    if result.against is None:
        return {}
    low, high = result.against.expected
    return {"random/mean": result.against.mean, "random/low": low, "random/high": high}


def _confirmed(result: SearchResult) -> dict[str, float]:
    """Return the mean mIoU of best attacks and baselines on the confirmation's data.

    Returns:
        Percent, by ``confirmed/<attack>/<searched or held-out>/<headline group>``.
    """
    results, means = result.results, {}
    for where, pairs in pairs_by_target(result.context.search, results).items():
        for attack in results.attacks:
            matrix = results.matrix(attack)
            mean = float(np.mean([matrix.loc[pair] for pair in pairs]))
            means[f"confirmed/{attack}/{where.role}/{where.group}"] = mean
    return means


def _log_failed(
    client: MlflowClient, experiment: Experiment, parent: str, search: str, trial: Trial
) -> None:
    tags = version_tags() | {
        "mlflow.parentRunId": parent,
        KIND_TAG: "trial",
        "mlflow.note.content": trial.reason,
        "segtransfer.state": trial.state,
        "segtransfer.reason": trial.reason,
    }
    key, digest = f"{search}-{trial.number}", key_of({"failed": trial.reason})
    name = f"trial-{trial.number} {search[:8]}"
    run, changed = open_run(client, experiment, key, name, digest, tags)
    if changed:
        with filled(client, run, digest, "FAILED"):
            log_params(client, run, _params(trial))


def _params(trial: Trial) -> dict[str, str]:
    return {
        name: written(value) if isinstance(value, float) else str(value)
        for name, value in trial.point.items()
    }


def _log_trial(
    client: MlflowClient, experiment: Experiment, parent: str, trial: Trial, results: Results
) -> None:
    (attack,) = results.attacks
    tags = attack_tags(results, attack)
    tags |= {
        "mlflow.parentRunId": parent,
        KIND_TAG: "trial",
        "segtransfer.state": trial.state,
    }
    span = span_of(results, [attack])
    name = f"trial-{trial.number} {results.identity[:8]}"
    run, changed = open_run(
        client, experiment, results.identity, name, results.digest, tags, span=span
    )
    if not changed:
        return
    with filled(client, run, results.digest, status_of(results), span):
        log_params(client, run, attack_params(results, attack) | _params(trial))
        assert trial.score is not None
        metrics = dict(trial.score.objectives) | dict(attack_metrics(results, attack))
        log_metrics(client, run, metrics)
        log_matrix(client, run, results, attack)
