"""MLflow: one writer; a parent run an experiment, a child run an attack, which is one matrix."""

import hashlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before mlflow is imported: an unreachable server is given up in seconds, not in minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

import numpy as np
from mlflow.entities import Experiment, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from orchestrator.provenance import commit, versions
from orchestrator.report.folder import matrix_name, report_folder
from orchestrator.report.text import markdown, settings
from orchestrator.results import Results
from tasks.errors import InputError
from tasks.urls import without_credentials

if TYPE_CHECKING:
    from orchestrator.search import Found
    from orchestrator.search.study import Trial

for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)

KEY, DIGEST = "segtransfer.key", "segtransfer.digest"
TABLE = "matrix.json"
BATCH = 900  # a batch takes 1000 metrics


class TrackingError(RuntimeError):
    """MLflow could not be used; the results are in the store all the same."""


@dataclass(frozen=True)
class LoggedRun:
    """What an MLflow run was logged from: the experiment of a store, and one attack of it or None
    for all."""

    store: str
    identity: str
    attack: str | None


def tracking_uri() -> str:
    """``MLFLOW_TRACKING_URI``, else a sqlite file in the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def how_to_open(uri: str) -> str:
    """The command or address that shows the runs."""
    uri = without_credentials(uri)
    if uri.startswith(("http://", "https://")):
        return uri
    return f"mlflow ui --backend-store-uri {uri}"


def read_run(run_id: str) -> LoggedRun:
    """What a run was logged from.

    Raises InputError where there is no such run, or it is not of an experiment; TrackingError where
    MLflow cannot be read.
    """
    uri = tracking_uri()
    where = without_credentials(f"MLflow at {uri}")
    try:
        tags = MlflowClient(tracking_uri=uri).get_run(run_id).data.tags
    except (MlflowException, OSError) as error:
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            raise InputError(
                f"there is no run {run_id} in {where}; set MLFLOW_TRACKING_URI to where it is"
            ) from None
        raise TrackingError(without_credentials(f"{where} could not be read: {error}")) from error
    if "segtransfer.config" not in tags or "segtransfer.store" not in tags:
        raise InputError(
            f"run {run_id} in {where} shows no experiment of a store; give a run of an experiment "
            "or of one of its attacks"
        )
    return LoggedRun(
        tags["segtransfer.store"], tags["segtransfer.config"], tags.get("segtransfer.attack")
    )


def log_results(results: Results) -> str:
    """Log an experiment, or bring its runs up to date; returns the tracking URI.

    Runs are found again by the experiment's identity, and metrics are written only where the
    results changed, so that logging twice leaves what logging once does. Raises TrackingError.
    """
    uri = tracking_uri()
    try:
        client = MlflowClient(tracking_uri=uri)
        experiment = _experiment(client, results.name, uri)
        parent = _log_parent(client, experiment, results)
        for attack in results.attacks:
            _log_attack(client, experiment, parent.info.run_id, results, attack)
    except (MlflowException, OSError) as error:
        raise _tracking_error(uri, error) from error
    return uri


def _tracking_error(uri: str, error: Exception) -> TrackingError:
    """What MLflow says, without the credentials that its URLs may carry."""
    return TrackingError(without_credentials(f"MLflow at {uri} could not be written: {error}"))


def log_search(found: "Found") -> str:
    """Log a search as a run, and each of its trials as a child with its matrix; returns the URI.

    Finds its runs again, as ``log_results`` does. Raises TrackingError.
    """
    from orchestrator.search.bench import trial_results

    uri, bench = tracking_uri(), found.bench
    try:
        client = MlflowClient(tracking_uri=uri)
        experiment = _experiment(client, bench.search.name, uri)
        parent = _log_search(client, experiment, found)
        store = found.results.store
        for trial in found.trials:
            results = trial_results(bench.identity, trial.number, store)
            if results is not None and trial.score is not None:
                _log_trial(client, experiment, parent.info.run_id, trial, results)
    except (MlflowException, OSError) as error:
        raise _tracking_error(uri, error) from error
    return uri


def _log_search(client: MlflowClient, experiment: Experiment, found: "Found") -> Run:
    from orchestrator.report.found import found_folder, summary
    from orchestrator.search.study import ranked

    bench = found.bench
    tags = {
        "mlflow.note.content": summary(found),
        "segtransfer.confirmed": found.results.identity,
    } | _provenance(found.results)
    name = f"{bench.search.name}-{bench.identity[:8]}"
    run, changed = _open(client, experiment, bench.identity, name, found.results, tags)
    if changed:
        first = ranked(found.trials)[0].score
        best = {f"best/{k}": v for k, v in first.objectives.items()} if first else {}
        states = Counter(f"trials/{trial.state}" for trial in found.trials)
        _log_metrics(client, run, best | {name: float(n) for name, n in states.items()})
        client.log_artifacts(run.info.run_id, str(found_folder(found)), "search")
        client.log_dict(run.info.run_id, bench.search.model_dump(mode="json"), "search.json")
        _finish(client, run, found.results)
    return run


def _log_trial(
    client: MlflowClient, experiment: Experiment, parent: str, trial: "Trial", results: Results
) -> None:
    (attack,) = results.attacks
    tags = {
        "mlflow.parentRunId": parent,
        "mlflow.note.content": markdown(results, [attack]),
        "segtransfer.attack": attack,
        "segtransfer.settings": settings(results, attack),
        "segtransfer.state": trial.state,
    } | _provenance(results)
    run, changed = _open(client, experiment, results.identity, attack, results, tags)
    if not changed:
        return
    params = [Param(name, str(value)) for name, value in trial.point.items()]
    client.log_batch(run.info.run_id, params=params)
    assert trial.score is not None
    _log_metrics(client, run, dict(trial.score.objectives) | dict(_metrics(results, attack)))
    _log_table(client, run, results, attack)
    _finish(client, run, results)


def _experiment(client: MlflowClient, name: str, uri: str) -> Experiment:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found
    local = uri.startswith("sqlite:///")
    artifacts = (Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts") if local else None
    location = artifacts.absolute().as_uri() if artifacts else None
    # So that MLflow's UI opens on runs and metrics, not on traces of chat models.
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return client.get_experiment(client.create_experiment(name, location, kind))


def _log_parent(client: MlflowClient, experiment: Experiment, results: Results) -> Run:
    content = results.content
    tags = {"mlflow.note.content": markdown(results, results.attacks)} | _provenance(results)
    run, changed = _open(
        client,
        experiment,
        results.identity,
        f"{results.name}-{results.identity[:8]}",
        results,
        tags,
    )
    if changed:
        metrics = {f"clean/{t}": float(v) for t, v in results.clean().items()}
        for attack in results.attacks:
            metrics |= {f"{attack}/miou/{g}": v for g, v in results.headlines(attack).items()}
        _log_metrics(client, run, metrics)
        client.log_artifacts(run.info.run_id, str(report_folder(results)), "report")
        client.log_dict(run.info.run_id, dict(content["spec"]), "experiment.json")
        _finish(client, run, results)
    return run


def _log_attack(
    client: MlflowClient, experiment: Experiment, parent: str, results: Results, attack: str
) -> None:
    tags = {
        "mlflow.parentRunId": parent,
        "mlflow.note.content": markdown(results, [attack]),
        "segtransfer.attack": attack,
        "segtransfer.settings": settings(results, attack),
    } | _provenance(results)
    key = f"{results.identity}/{attack}"
    run, changed = _open(client, experiment, key, attack, results, tags)
    if not changed:
        return
    params = [Param(k, v) for k, v in _flatten(results.attack_spec(attack))]
    client.log_batch(run.info.run_id, params=params)
    _log_metrics(client, run, dict(_metrics(results, attack)))
    folder = report_folder(results)
    client.log_artifact(run.info.run_id, str(folder / matrix_name(attack)))
    _log_table(client, run, results, attack)
    _finish(client, run, results, attack)


def _metrics(results: Results, attack: str) -> Iterator[tuple[str, float]]:
    """Headline means first, then ``miou/<source>/<target>`` and its like for every cell."""
    for metric in ("miou", "drop", "fooling"):
        yield from (
            (f"mean_{metric}/{group}", value)
            for group, value in results.headlines(attack, metric).items()
        )
    yield from ((f"perturbation/{k}", float(v)) for k, v in results.perturbation(attack).items())
    yield from ((f"cost/{k}", float(v)) for k, v in results.cost(attack).items())
    for target, value in results.clean().items():
        yield f"clean/{target}", float(value)
    for metric in ("miou", "drop", "fooling", "aacc", "macc"):
        matrix = results.matrix(attack, metric)
        for source in results.sources:
            for target in results.targets:
                yield f"{metric}/{source}/{target}", float(matrix.loc[source, target])


def _open(
    client: MlflowClient,
    experiment: Experiment,
    key: str,
    name: str,
    results: Results,
    tags: dict[str, str],
) -> tuple[Run, bool]:
    """The run of this key, made where there is none; and whether it shows other results."""
    found = client.search_runs([experiment.experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1)
    if found:
        run = found[0]
        current = run.data.tags.get(DIGEST) == results.digest and run.info.status != "RUNNING"
        if not current:
            client.update_run(run.info.run_id, status="RUNNING")
            client.log_batch(run.info.run_id, tags=[RunTag(k, v) for k, v in tags.items()])
        return run, not current
    run = client.create_run(experiment.experiment_id, run_name=name, tags={**tags, KEY: key})
    return run, True


def _finish(client: MlflowClient, run: Run, results: Results, attack: str | None = None) -> None:
    """End a run by what its matrices lack: nothing, what failed, or what was stopped before."""
    there, cells = results.coverage(attack) if attack else (-len(results.missing), 0)
    incomplete = "FAILED" if results.failures and not results.stopped else "KILLED"
    client.set_tag(run.info.run_id, DIGEST, results.digest)
    client.set_terminated(run.info.run_id, "FINISHED" if there == cells else incomplete)


def _log_metrics(client: MlflowClient, run: Run, metrics: dict[str, float]) -> None:
    """Those that a run does not show yet: of two values of one time MLflow shows the greater."""
    now, shown = int(1000 * time.time()), run.data.metrics
    new = {k: v for k, v in metrics.items() if np.isfinite(v) and shown.get(k) != v}
    known = [Metric(k, v, now, 0) for k, v in new.items()]
    for first in range(0, len(known), BATCH):
        client.log_batch(run.info.run_id, metrics=known[first : first + BATCH])


def _log_table(client: MlflowClient, run: Run, results: Results, attack: str) -> None:
    """The cells as a table under one file name; ``log_table`` would append to an older one."""
    frame = results.frame()
    frame = frame[frame["attack"] == attack].drop(columns="attack")
    if any(item.path == TABLE for item in client.list_artifacts(run.info.run_id)):
        client.log_dict(
            run.info.run_id, json.loads(frame.to_json(orient="split", index=False)), TABLE
        )
    else:
        client.log_table(run.info.run_id, frame, TABLE)


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else key)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _flatten(item, f"{prefix}.{index}")
    else:
        yield prefix, str(value)


def _provenance(results: Results) -> dict[str, str]:
    """What made the results: config, data, store, versions and, in a source tree, the commit."""
    content = results.content
    tags = {
        "mlflow.source.name": "segtransfer",
        "segtransfer.dataset": content["dataset"],
        "segtransfer.images": str(len(results.image_ids)),
        "segtransfer.data": hashlib.sha256("".join(content["shards"]).encode()).hexdigest(),
        "segtransfer.config": results.identity,
        "segtransfer.store": results.store.location,
    }
    tags |= {f"version.{name}": version for name, version in versions().items()}
    if sha := commit():
        tags["mlflow.source.git.commit"] = sha
    return tags
