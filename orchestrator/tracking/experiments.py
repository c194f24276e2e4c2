"""Experiments in MLflow: a parent run per experiment, a child run with a matrix per attack."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import datetime

import pandas as pd
from mlflow.entities import Dataset, DatasetInput, Experiment, Run
from mlflow.tracking import MlflowClient

from segtransfer.reporting.heatmaps import draw_small
from segtransfer.reporting.places import matrix_name, report_folder
from segtransfer.results import Results
from segtransfer.results.markdown import markdown, warning_sentences
from segtransfer.results.text import settings
from segtransfer.results.views import best_attack
from segtransfer.tasks.metrics import METRICS
from segtransfer.tasks.schema import strength_text
from segtransfer.tracking.artifacts import log_image, log_table
from segtransfer.tracking.current import key_of_attack, logged_attacks
from segtransfer.tracking.params import attack_params, experiment_params
from segtransfer.tracking.runs import (
    ATTACK_TAG,
    CONFIG_TAG,
    KIND_TAG,
    MOST_MODELS,
    STORE_TAG,
    Span,
    experiment_named,
    filled,
    log_metrics,
    log_params,
    open_run,
    version_tags,
    writing,
)
from segtransfer.tracking.views import MATRIX_IMAGE

MATRIX_FILE = "matrix.json"
WARNINGS_TAG = "segtransfer.warnings"  # their number; the sentences are in the note
BEST_TAG = "segtransfer.best"  # the attack whose means an experiment's run shows
DATA_HASH_DIGITS = 16  # the length that MLflow shows


def log_results(results: Results) -> str:
    """Log an experiment and its attacks, or update their runs.

    Runs are identified by the experiment's identity and are written only if the results changed, so
    logging is idempotent.

    Args:
        results: The results, whose report folder must exist.

    Returns:
        The tracking URI.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    with writing() as (client, uri):
        experiment = experiment_named(client, results.name, uri)
        parent = _log_parent(client, experiment, results)
        for attack in logged_attacks(results):
            _log_attack(client, experiment, parent.info.run_id, results, attack)
    return uri


def attack_run_name(results: Results, attack: str) -> str:
    """Return the name of an attack's run: variant, eps, and 8 digits of the identity."""
    eps = strength_text(results.attack_spec(attack).eps)
    return f"{attack} {eps} {results.identity[:8]}"


def _log_parent(client: MlflowClient, experiment: Experiment, results: Results) -> Run:
    sentences = warning_sentences(results, results.attacks)
    best = best_attack(results)
    tags = {
        "mlflow.note.content": markdown(results, results.attacks),
        KIND_TAG: "experiment",
        BEST_TAG: best or "",
        WARNINGS_TAG: str(len(sentences)),
    } | provenance(results)
    params = experiment_params(results)
    # MLflow's tables show the first 20 characters or so.
    name = f"{results.name} {params['eps']} seed {params['seed']} {results.identity[:8]}"
    span = _computed(results)
    run, changed = open_run(
        client, experiment, results.identity, name, results.digest, tags, span=span
    )
    if changed:
        with filled(client, run, results.digest, status_of(results), span):
            log_params(client, run, params)
            metrics = dict(headline_metrics(results, best)) if best else {}
            log_metrics(client, run, metrics | dict(_clean_metrics(results)))
            client.log_artifacts(run.info.run_id, str(report_folder(results)), "report")
            client.log_dict(run.info.run_id, results.manifest.spec, "experiment.json")
            client.log_dict(run.info.run_id, {"warnings": sentences}, "warnings.json")
            log_data(client, run, results)
    return run


def _computed(results: Results) -> Span | None:
    """Return start and end of the computation: as recorded, else of all stored tasks."""
    if run := results.manifest.run:
        started, ended = map(datetime.fromisoformat, (run.started, run.ended))
        return started.timestamp(), ended.timestamp()
    return span_of(results, [*results.spans])


def span_of(results: Results, attacks: Iterable[str]) -> Span | None:
    """Return start and end of the stored tasks of attacks.

    Args:
        results: The results.
        attacks: The names of variants.

    Returns:
        Seconds since 1970; None without a stored task.
    """
    spans = [results.spans[attack] for attack in attacks if attack in results.spans]
    if not spans:
        return None
    return min(start for start, _ in spans), max(end for _, end in spans)


def _log_attack(
    client: MlflowClient, experiment: Experiment, parent: str, results: Results, attack: str
) -> None:
    iterates = logged_attacks(results)[attack]
    tags = attack_tags(results, attack) | {KIND_TAG: "attack", "mlflow.parentRunId": parent}
    key, name = key_of_attack(results, attack), attack_run_name(results, attack)
    span = span_of(results, [*iterates, attack])
    run, changed = open_run(client, experiment, key, name, results.digest, tags, span=span)
    if not changed:
        return
    with filled(client, run, results.digest, status_of(results, attack), span):
        log_params(client, run, attack_params(results, attack))
        for iterate in iterates:
            step = results.variants[iterate].step
            log_metrics(client, run, dict(headline_metrics(results, iterate)), step)
        metrics = dict(attack_metrics(results, attack))
        log_metrics(client, run, metrics, results.variants[attack].step)
        whole = report_folder(results) / matrix_name(attack)
        log_image(client, run, MATRIX_IMAGE, whole, draw_small(results, attack))
        log_matrix(client, run, results, attack)


def status_of(results: Results, attack: str | None = None) -> str:
    """Return the MLflow status of an experiment, or of an attack.

    Args:
        results: The results.
        attack: The name of a variant; None for the whole experiment.

    Returns:
        FINISHED if no cell is missing. Else FAILED if tasks failed and the run was not stopped, and
        KILLED otherwise. Running the spec again completes the runs.
    """
    there, cells = results.coverage(attack) if attack else (-len(results.missing), 0)
    incomplete = "FAILED" if results.failures and not results.stopped else "KILLED"
    return "FINISHED" if there == cells else incomplete


def attack_tags(results: Results, attack: str) -> dict[str, str]:
    """Return the tags of an attack's run: note with the matrix, settings, warnings, provenance.

    Args:
        results: The results, complete or partial.
        attack: The name of the variant.

    Returns:
        Text by tag: MLflow's note (the attack's matrix in Markdown), the attack's name, its
        settings, the number of its warnings, and the provenance of the results.
    """
    return {
        "mlflow.note.content": markdown(results, [attack]),
        ATTACK_TAG: attack,
        "segtransfer.settings": settings(results, attack),
        WARNINGS_TAG: str(len(warning_sentences(results, [attack]))),
    } | provenance(results)


def attack_metrics(results: Results, attack: str) -> Iterator[tuple[str, float]]:
    """Yield names and values of an attack's metrics.

    Headline means come first. Cells are called ``<metric>/<source>/<target>``; cells of more than 8
    sources or targets are only in the table of ``log_matrix``.

    Args:
        results: The results, complete or partial.
        attack: The name of the variant.

    Yields:
        Name and value; a value of a missing cell is NaN.
    """
    yield from headline_metrics(results, attack)
    yield from _clean_metrics(results)
    if not has_cell_metrics(results):
        return
    for metric in [name for name in results.metrics if METRICS[name].logged]:
        matrix = results.matrix(attack, metric)
        for source in results.sources:
            for target in results.targets:
                yield f"{metric}/{source}/{target}", float(matrix.loc[source, target])


def headline_metrics(results: Results, attack: str) -> Iterator[tuple[str, float]]:
    """Yield names and values of an attack's means, perturbation and cost.

    Args:
        results: The results, complete or partial.
        attack: The name of the variant.

    Yields:
        ``mean_<metric>/<group>`` in percent or points, ``perturbation/<statistic>`` and
        ``cost/<measure>``.
    """
    for metric in (results.headline, "drop", "fooling"):
        yield from (
            (f"mean_{metric}/{group}", value)
            for group, value in results.headlines(attack, metric).items()
        )
    yield from ((f"perturbation/{k}", float(v)) for k, v in results.perturbation(attack).items())
    yield from ((f"cost/{k}", float(v)) for k, v in results.cost(attack).items())


def _clean_metrics(results: Results) -> Iterator[tuple[str, float]]:
    if has_cell_metrics(results):
        yield from ((f"clean/{t}", float(v)) for t, v in results.clean().items())


def has_cell_metrics(results: Results) -> bool:
    """Return whether each cell is logged as a metric: with at most 8 sources and 8 targets."""
    return max(len(results.sources), len(results.targets)) <= MOST_MODELS


def log_matrix(client: MlflowClient, run: Run, results: Results, attack: str) -> None:
    """Log the cells of an attack as a table, and the data set.

    MLflow's UI aligns the tables of several runs by the first column (the cell) and shows the
    second (the first metric).

    Args:
        client: MLflow's client.
        run: The run.
        results: The results, complete or partial.
        attack: The name of the variant.
    """
    frame = results.frame().query("attack == @attack").round(2)
    frame.insert(0, "cell", frame["source"] + " → " + frame["target"])
    where = [frame.pop(name) for name in ("attack", "source", "target", "group")][1:]
    frame = pd.concat([frame, *where], axis="columns")
    log_table(client, run, frame, MATRIX_FILE)
    log_data(client, run, results)


def log_data(client: MlflowClient, run: Run, results: Results) -> None:
    """Log the images as the run's data set, identified by the hash of their content.

    Args:
        client: MLflow's client.
        run: The run.
        results: The results.
    """
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
    """Return tags of the results' origin: author, command, data, store, versions and commit.

    Args:
        results: The results. Without a record of their computation, author and command are of this
            process.
    """
    run = results.manifest.run
    author = {"mlflow.user": run.user} if run else {}
    origin = {
        "segtransfer.dataset": results.manifest.dataset,
        "segtransfer.images": str(len(results.image_ids)),
        "segtransfer.data": _data_hash(results),
        CONFIG_TAG: results.identity,
        STORE_TAG: results.store.location,
    }
    return version_tags(run.command if run else "") | author | origin


def _data_hash(results: Results) -> str:
    return hashlib.sha256("".join(results.manifest.shards).encode()).hexdigest()
