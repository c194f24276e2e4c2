"""Experiments in MLflow: a parent run an experiment, a child run an attack, which is one matrix."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pandas as pd
from mlflow.entities import Dataset, DatasetInput, Experiment, Param, Run
from mlflow.tracking import MlflowClient

from segtransfer.reporting.folder import matrix_name, report_folder
from segtransfer.reporting.heatmaps import draw_small
from segtransfer.results import Results
from segtransfer.results.text import markdown, settings
from segtransfer.tracking.runs import (
    ATTACK,
    CONFIG,
    STORE,
    experiment_named,
    filled,
    log_metrics,
    log_picture,
    log_table,
    made_with,
    open_run,
    writing,
)
from segtransfer.tracking.views import PICTURE

TABLE = "matrix.json"
DIGITS = 16  # of the data's hash, as MLflow shows it


def log_results(results: Results) -> str:
    """Log an experiment, or bring its runs up to date; returns the tracking URI.

    Runs are found again by the experiment's identity, and metrics are written only where the
    results changed, so that logging twice leaves what logging once does. Raises TrackingError.
    """
    with writing() as (client, uri):
        experiment = experiment_named(client, results.name, uri)
        parent = _log_parent(client, experiment, results)
        for attack in results.attacks:
            _log_attack(client, experiment, parent.info.run_id, results, attack)
    return uri


def _log_parent(client: MlflowClient, experiment: Experiment, results: Results) -> Run:
    content = results.content
    tags = {"mlflow.note.content": markdown(results, results.attacks)} | provenance(results)
    name = f"{results.name}-{results.identity[:8]}"
    run, changed = open_run(client, experiment, results.identity, name, results.digest, tags)
    if changed:
        with filled(client, run, results.digest, status_of(results)):
            metrics = {f"clean/{t}": float(v) for t, v in results.clean().items()}
            for attack in results.attacks:
                metrics |= {f"{attack}/miou/{g}": v for g, v in results.headlines(attack).items()}
            log_metrics(client, run, metrics)
            client.log_artifacts(run.info.run_id, str(report_folder(results)), "report")
            client.log_dict(run.info.run_id, dict(content["spec"]), "experiment.json")
            log_data(client, run, results)
    return run


def _log_attack(
    client: MlflowClient, experiment: Experiment, parent: str, results: Results, attack: str
) -> None:
    tags = attack_tags(results, attack) | {"mlflow.parentRunId": parent}
    key = f"{results.identity}/{attack}"
    name = f"{attack} {results.attack_spec(attack)['eps'] * 255:g}/255"  # apart at another eps
    run, changed = open_run(client, experiment, key, name, results.digest, tags)
    if not changed:
        return
    with filled(client, run, results.digest, status_of(results, attack)):
        params = [Param(k, v) for k, v in _flatten(results.attack_spec(attack))]
        client.log_batch(run.info.run_id, params=params)
        log_metrics(client, run, dict(attack_metrics(results, attack)))
        whole = report_folder(results) / matrix_name(attack)
        log_picture(client, run, PICTURE, whole, draw_small(results, attack))
        log_matrix(client, run, results, attack)


def status_of(results: Results, attack: str | None = None) -> str:
    """What its matrices lack: nothing, what failed, or what was stopped before."""
    there, cells = results.coverage(attack) if attack else (-len(results.missing), 0)
    incomplete = "FAILED" if results.failures and not results.stopped else "KILLED"
    return "FINISHED" if there == cells else incomplete


def attack_tags(results: Results, attack: str) -> dict[str, str]:
    """The note with the matrix, the attack's name and settings, and what made it."""
    return {
        "mlflow.note.content": markdown(results, [attack]),
        ATTACK: attack,
        "segtransfer.settings": settings(results, attack),
    } | provenance(results)


def attack_metrics(results: Results, attack: str) -> Iterator[tuple[str, float]]:
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


def log_matrix(client: MlflowClient, run: Run, results: Results, attack: str) -> None:
    """The cells of an attack as a table, and the images that they were measured on.

    MLflow's UI lines up the tables of several runs by the first column and shows the second.
    """
    frame = results.frame().query("attack == @attack").round(2)
    frame.insert(0, "cell", frame["source"] + " → " + frame["target"])
    where = [frame.pop(name) for name in ("attack", "source", "target", "group")][1:]
    frame = pd.concat([frame, *where], axis="columns")
    log_table(client, run, frame, TABLE)
    log_data(client, run, results)


def log_data(client: MlflowClient, run: Run, results: Results) -> None:
    """The images as the run's data set, by the hash of what they hold."""
    content = results.content
    profile = {"images": len(results.image_ids), "classes": len(results.classes)}
    dataset = Dataset(
        name=content["dataset"],
        digest=_data_hash(results)[:DIGITS],
        source_type="segtransfer",
        source=json.dumps(content["spec"]["data"]),
        profile=json.dumps(profile),
    )
    client.log_inputs(run.info.run_id, [DatasetInput(dataset)])


def provenance(results: Results) -> dict[str, str]:
    """What made the results: config, data, store, versions and, in a source tree, the commit."""
    content = results.content
    return made_with() | {
        "segtransfer.dataset": content["dataset"],
        "segtransfer.images": str(len(results.image_ids)),
        "segtransfer.data": _data_hash(results),
        CONFIG: results.identity,
        STORE: results.store.location,
    }


def _data_hash(results: Results) -> str:
    return hashlib.sha256("".join(results.content["shards"]).encode()).hexdigest()


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else key)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _flatten(item, f"{prefix}.{index}")
    else:
        yield prefix, str(value)
