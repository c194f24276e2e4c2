"""Experiments in MLflow: a parent run per experiment, a child run with a matrix per attack."""

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
from segtransfer.results.markdown import markdown, warning_sentences
from segtransfer.results.text import settings
from segtransfer.tasks.metrics import METRICS
from segtransfer.tracking.runs import (
    ATTACK_TAG,
    CONFIG_TAG,
    STORE_TAG,
    experiment_named,
    filled,
    log_image,
    log_metrics,
    log_table,
    open_run,
    version_tags,
    writing,
)
from segtransfer.tracking.views import MATRIX_IMAGE

MATRIX_FILE = "matrix.json"
WARNINGS_TAG = "segtransfer.warnings"  # their number; the sentences are in the note
DATA_HASH_DIGITS = 16  # as MLflow shows it


def log_results(results: Results) -> str:
    """Log an experiment, or update its runs.

    Runs are identified by the experiment's identity and written only if the results changed, so
    logging is idempotent.

    Returns:
        The tracking URI.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    with writing() as (client, uri):
        experiment = experiment_named(client, results.name, uri)
        parent = _log_parent(client, experiment, results)
        for attack in results.attacks:
            _log_attack(client, experiment, parent.info.run_id, results, attack)
    return uri


def _log_parent(client: MlflowClient, experiment: Experiment, results: Results) -> Run:
    sentences = warning_sentences(results, results.attacks)
    tags = {
        "mlflow.note.content": markdown(results, results.attacks),
        WARNINGS_TAG: str(len(sentences)),
    } | provenance(results)
    name = f"{results.name}-{results.identity[:8]}"
    run, changed = open_run(client, experiment, results.identity, name, results.digest, tags)
    if changed:
        with filled(client, run, results.digest, status_of(results)):
            metrics = {f"clean/{t}": float(v) for t, v in results.clean().items()}
            for attack in results.attacks:
                metrics |= {f"{attack}/miou/{g}": v for g, v in results.headlines(attack).items()}
            log_metrics(client, run, metrics)
            client.log_artifacts(run.info.run_id, str(report_folder(results)), "report")
            client.log_dict(run.info.run_id, results.manifest.spec, "experiment.json")
            client.log_dict(run.info.run_id, {"warnings": sentences}, "warnings.json")
            log_data(client, run, results)
    return run


def _log_attack(
    client: MlflowClient, experiment: Experiment, parent: str, results: Results, attack: str
) -> None:
    tags = attack_tags(results, attack) | {"mlflow.parentRunId": parent}
    key = f"{results.identity}/{attack}"
    name = f"{attack} {results.attack_spec(attack).eps * 255:g}/255"  # eps tells runs apart
    run, changed = open_run(client, experiment, key, name, results.digest, tags)
    if not changed:
        return
    with filled(client, run, results.digest, status_of(results, attack)):
        params = [Param(k, v) for k, v in _flatten(results.manifest.stored_attack(attack))]
        client.log_batch(run.info.run_id, params=params)
        log_metrics(client, run, dict(attack_metrics(results, attack)))
        whole = report_folder(results) / matrix_name(attack)
        log_image(client, run, MATRIX_IMAGE, whole, draw_small(results, attack))
        log_matrix(client, run, results, attack)


def status_of(results: Results, attack: str | None = None) -> str:
    """Return the MLflow status of an experiment, or of an attack.

    Returns:
        FINISHED if no cell is missing; FAILED if tasks failed; KILLED if the run was stopped.
    """
    there, cells = results.coverage(attack) if attack else (-len(results.missing), 0)
    incomplete = "FAILED" if results.failures and not results.stopped else "KILLED"
    return "FINISHED" if there == cells else incomplete


def attack_tags(results: Results, attack: str) -> dict[str, str]:
    """Return the tags of an attack's run: note with the matrix, settings, warnings, provenance."""
    return {
        "mlflow.note.content": markdown(results, [attack]),
        ATTACK_TAG: attack,
        "segtransfer.settings": settings(results, attack),
        WARNINGS_TAG: str(len(warning_sentences(results, [attack]))),
    } | provenance(results)


def attack_metrics(results: Results, attack: str) -> Iterator[tuple[str, float]]:
    """Yield names and values of an attack's metrics.

    Headline means come first. Cells are called ``<metric>/<source>/<target>``.
    """
    for metric in ("miou", "drop", "fooling"):
        yield from (
            (f"mean_{metric}/{group}", value)
            for group, value in results.headlines(attack, metric).items()
        )
    yield from ((f"perturbation/{k}", float(v)) for k, v in results.perturbation(attack).items())
    yield from ((f"cost/{k}", float(v)) for k, v in results.cost(attack).items())
    for target, value in results.clean().items():
        yield f"clean/{target}", float(value)
    for metric in [name for name, entry in METRICS.items() if entry.logged]:
        matrix = results.matrix(attack, metric)
        for source in results.sources:
            for target in results.targets:
                yield f"{metric}/{source}/{target}", float(matrix.loc[source, target])


def log_matrix(client: MlflowClient, run: Run, results: Results, attack: str) -> None:
    """Log the cells of an attack as a table, and the data set.

    MLflow's UI aligns the tables of several runs by the first column and shows the second.
    """
    frame = results.frame().query("attack == @attack").round(2)
    frame.insert(0, "cell", frame["source"] + " → " + frame["target"])
    where = [frame.pop(name) for name in ("attack", "source", "target", "group")][1:]
    frame = pd.concat([frame, *where], axis="columns")
    log_table(client, run, frame, MATRIX_FILE)
    log_data(client, run, results)


def log_data(client: MlflowClient, run: Run, results: Results) -> None:
    """Log the images as the run's data set, identified by the hash of their content."""
    profile = {"images": len(results.image_ids), "classes": len(results.classes)}
    dataset = Dataset(
        name=results.manifest.dataset,
        digest=_data_hash(results)[:DATA_HASH_DIGITS],
        source_type="segtransfer",
        source=json.dumps(results.manifest.spec["data"]),
        profile=json.dumps(profile),
    )
    client.log_inputs(run.info.run_id, [DatasetInput(dataset)])


def provenance(results: Results) -> dict[str, str]:
    """Return tags of the results' origin: experiment, data, store, versions and commit."""
    return version_tags() | {
        "segtransfer.dataset": results.manifest.dataset,
        "segtransfer.images": str(len(results.image_ids)),
        "segtransfer.data": _data_hash(results),
        CONFIG_TAG: results.identity,
        STORE_TAG: results.store.location,
    }


def _data_hash(results: Results) -> str:
    return hashlib.sha256("".join(results.manifest.shards).encode()).hexdigest()


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted paths and values of nested mappings and lists."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else key)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _flatten(item, f"{prefix}.{index}")
    else:
        yield prefix, str(value)
