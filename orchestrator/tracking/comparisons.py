"""Comparisons in MLflow: runs in experiments of their own, apart from the compared runs."""

from collections.abc import Iterator

from mlflow.entities import Experiment, LifecycleStage, Run
from mlflow.tracking import MlflowClient

from segtransfer.comparison import Comparison
from segtransfer.experiment.keys import key_of
from segtransfer.reporting.comparison import (
    comparison_folder,
    difference_name,
    markdown,
    overview,
)
from segtransfer.reporting.comparison_layout import pair_title, run_label, title
from segtransfer.results import Results
from segtransfer.tasks.urls import without_credentials
from segtransfer.tracking.artifacts import log_table
from segtransfer.tracking.current import logged_attacks
from segtransfer.tracking.experiments import has_cell_metrics
from segtransfer.tracking.places import sqlite_file, tracking_uri
from segtransfer.tracking.runs import (
    KIND_TAG,
    experiment_named,
    filled,
    log_metrics,
    log_params,
    open_run,
    run_with_key,
    version_tags,
    writing,
)

DIFFERENCES_FILE = "differences.json"


def is_logged(results: Results) -> bool:
    """Return whether MLflow has a run of an experiment. No database is created.

    Args:
        results: The results of the experiment.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    database = sqlite_file(tracking_uri())
    if database is not None and not database.exists():
        return False
    with writing() as (client, _):
        return _run_of(client, results, None) is not None


def log_comparison(comparison: Comparison) -> str:
    """Log a comparison into the MLflow experiment ``<B's name> comparisons``.

    A single pair of attacks becomes a run. Several pairs become children of a common run. Runs are
    identified by the comparison's identity, and link to the runs of A and B in the same MLflow.

    Args:
        comparison: The comparison, whose report folder must exist.

    Returns:
        The tracking URI.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    with writing() as (client, uri):
        if len(comparison.attacks) == 1:
            _log_pair(client, uri, comparison, comparison.attacks[0], comparison.identity, {})
        else:
            parent = {"mlflow.parentRunId": _log_all(client, uri, comparison).info.run_id}
            for pair in comparison.attacks:
                key = f"{comparison.identity}/{pair[1]}"
                _log_pair(client, uri, comparison, pair, key, parent)
    return uri


def _experiment(client: MlflowClient, comparison: Comparison, uri: str) -> Experiment:
    # The name differs from every experiment of results: names of specs have no space.
    return experiment_named(client, f"{comparison.b.name} comparisons", uri, view=False)


def _log_all(client: MlflowClient, uri: str, comparison: Comparison) -> Run:
    verdicts = " ".join(comparison.verdict(attack) for _, attack in comparison.attacks)
    links = _links(client, uri, comparison, None)
    tags = _tags(comparison, overview(comparison), verdicts, links)
    experiment = _experiment(client, comparison, uri)
    digest = key_of({"comparison": comparison.digest, "links": links})
    run, changed = open_run(
        client, experiment, comparison.identity, title(comparison), digest, tags
    )
    if changed:
        with filled(client, run, digest):
            log_params(client, run, _params(comparison))
            metrics = {
                f"{attack}/{name}": value
                for _, attack in comparison.attacks
                for name, value in _means(comparison, attack)
            }
            log_metrics(client, run, metrics)
            client.log_artifacts(run.info.run_id, str(comparison_folder(comparison)), "report")
    return run


def _log_pair(
    client: MlflowClient,
    uri: str,
    comparison: Comparison,
    pair: tuple[str, str],
    key: str,
    parent: dict[str, str],
) -> None:
    attack = pair[1]
    links = _links(client, uri, comparison, pair)
    note, verdict = markdown(comparison, attack), comparison.verdict(attack)
    tags = parent | _tags(comparison, note, verdict, links)
    experiment = _experiment(client, comparison, uri)
    digest = key_of({"comparison": comparison.digest, "links": links})
    run, changed = open_run(client, experiment, key, pair_title(pair), digest, tags)
    if not changed:
        return
    with filled(client, run, digest):
        log_params(client, run, _params(comparison) | {"attack_a": pair[0], "attack_b": attack})
        metrics = dict(_means(comparison, attack)) | dict(_cells(comparison, attack))
        log_metrics(client, run, metrics)
        folder = comparison_folder(comparison)
        client.log_artifact(run.info.run_id, str(folder / difference_name(attack)))
        frame = comparison.frame
        log_table(client, run, frame[frame["attack_b"] == attack], DIFFERENCES_FILE)


def _means(comparison: Comparison, attack: str) -> Iterator[tuple[str, float]]:
    for row in comparison.rows(attack, "mean").itertuples():
        yield f"mean_difference/{row.group or 'targets'}", float(row.difference)


def _cells(comparison: Comparison, attack: str) -> Iterator[tuple[str, float]]:
    """Yield a metric per source and target. A row without a source counts for every source.

    With more than 8 sources or targets no metric is yielded; the table has all cells.
    """
    if not has_cell_metrics(comparison.b):
        return
    for row in comparison.rows(attack, "cell").itertuples():
        for source in [row.source] if row.source else comparison.b.sources:
            yield f"difference/{source}/{row.target}", float(row.difference)


def _params(comparison: Comparison) -> dict[str, str]:
    return {
        "a": run_label(comparison.a),
        "b": run_label(comparison.b),
        "metric": comparison.metric,
        "allow": ", ".join(comparison.allow),
    }


def _tags(
    comparison: Comparison, note: str, verdict: str, links: dict[str, dict[str, str]]
) -> dict[str, str]:
    shown = [f"{side.upper()}: [{link['name']}]({link['address']})" for side, link in links.items()]
    tags = {
        KIND_TAG: "comparison",
        "mlflow.note.content": "\n\n".join(filter(None, [" · ".join(shown), note])),
        "segtransfer.comparison": title(comparison),
        "segtransfer.verdict": verdict,
    }
    for side, link in links.items():
        tags[f"segtransfer.{side}.run"] = link["run"]
        tags[f"segtransfer.{side}.link"] = link["address"]
    return tags | version_tags()


def _links(
    client: MlflowClient, uri: str, comparison: Comparison, pair: tuple[str, str] | None
) -> dict[str, dict[str, str]]:
    """Return run id, address and name of A's and B's runs in the same MLflow, by ``a`` and ``b``.

    Args:
        client: MLflow's client.
        uri: The tracking URI.
        comparison: The comparison.
        pair: The attacks of A and B to link to; None for the runs of the experiments.
    """
    links = {}
    for place, (side, results) in enumerate((("a", comparison.a), ("b", comparison.b))):
        attack = None if pair is None else pair[place]
        run = _run_of(client, results, attack)
        if run is not None:
            root = without_credentials(uri) if uri.startswith("http") else ""
            place_in_ui = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
            links[side] = {
                "run": run.info.run_id,
                "address": f"{root.rstrip('/')}/{place_in_ui}" if root else place_in_ui,
                "name": run_label(results) + (f", {attack}" if attack else ""),
            }
    return links


def _run_of(client: MlflowClient, results: Results, attack: str | None) -> Run | None:
    """Return the run of an attack, else of its experiment, or None."""
    experiment = client.get_experiment_by_name(results.name)
    if experiment is None or experiment.lifecycle_stage == LifecycleStage.DELETED:
        return None
    run = None
    if attack:  # earlier iterates are in the run of the last iterate
        logged = next(last for last, early in logged_attacks(results).items()
                      if attack in (last, *early))  # fmt: skip
        run = run_with_key(client, experiment, f"{results.identity}/{logged}")
    return run or run_with_key(client, experiment, results.identity)
