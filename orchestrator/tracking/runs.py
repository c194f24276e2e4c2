"""MLflow runs: their server, their look-up by key, and functions that write and read them."""

import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

# Before mlflow is imported: an unreachable server fails in seconds, not in minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

import numpy as np
from mlflow.entities import Experiment, LifecycleStage, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from segtransfer.comparison.references import LoggedRun
from segtransfer.errors import InputError
from segtransfer.experiment.provenance import command, commit, user, versions
from segtransfer.tasks.urls import without_credentials
from segtransfer.tracking import views
from segtransfer.tracking.places import (
    DELETED_TAG,
    DIGEST_TAG,
    KEY_TAG,
    PARENT_TAG,
    TrackingError,
    sqlite_file,
    tracking_uri,
)

log = logging.getLogger(__name__)

for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)

CONFIG_TAG, STORE_TAG, ATTACK_TAG = "segtransfer.config", "segtransfer.store", "segtransfer.attack"
SOURCE_WORDS = 3  # segtransfer, the verb and the spec
COMMAND_TAG = "segtransfer.command"
KIND_TAG = "segtransfer.kind"  # experiment, attack, search, trial or comparison
NOTE_TAG = "mlflow.note.content"
NOTE_FILE = "note.md"  # artifact of a run whose note is longer than a tag
TAG_CHARACTERS = 8000  # of a value in PostgreSQL and MySQL; sqlite takes more
PARAM_CHARACTERS = 6000  # of a value, with all of MLflow's databases
METRICS_PER_BATCH = 900  # MLflow accepts 1000
PARAMS_PER_BATCH = 100
MOST_MODELS = 8  # sources or targets; with more, cells are in the table and are no metrics
Span = tuple[float, float]  # start and end, in seconds since 1970


def runs_address(uri: str, name: str) -> str:
    """Return the UI's address of an experiment's attacks side by side.

    Args:
        uri: The tracking URI. For a local file, the address is that of a server at MLflow's default
            port 5000.
        name: The experiment's name. A missing MLflow experiment is created.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    with writing() as (client, _):
        experiment = experiment_named(client, name, uri)
    return views.address(uri, experiment.experiment_id)


@contextmanager
def writing() -> Iterator[tuple[MlflowClient, str]]:
    """Yield a client and its tracking URI.

    Raises:
        TrackingError: MLflow, its database or its files cannot be used within the context.
    """
    uri = tracking_uri()
    with _in_a_sentence(f"MLflow at {uri} could not be written"):
        _check_database(uri)
        yield MlflowClient(tracking_uri=uri), uri


@contextmanager
def _in_a_sentence(failure: str) -> Iterator[None]:
    """Turn any exception of MLflow, or of a library of MLflow, into a TrackingError.

    Args:
        failure: A clause with the URI and the operation.
    """
    try:
        yield
    except (InputError, TrackingError):
        raise
    except Exception as error:
        # SQLAlchemy adds lines with the statement and a link.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # MLflow's messages may hold the credentials of its URLs.
        raise TrackingError(without_credentials(f"{failure}: {lines[0]}")) from error


def _check_database(uri: str) -> None:
    """Open the file of a sqlite URI, because MLflow would retry for over a minute.

    Raises:
        sqlite3.Error: The file is no database, is locked, or cannot be opened.
    """
    path = sqlite_file(uri)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path)
        try:
            database.execute("PRAGMA schema_version").fetchall()
        finally:
            database.close()


def read_run(run_id: str) -> LoggedRun:
    """Return the experiment and attack of an MLflow run.

    Args:
        run_id: The id of the run, 32 hexadecimal digits.

    Returns:
        The store, the experiment's identity, and the attack or None.

    Raises:
        InputError: MLflow has no such run, or the run shows no experiment.
        TrackingError: MLflow cannot be read.
    """
    uri = tracking_uri()
    where = f"MLflow at {without_credentials(uri)}"
    with _in_a_sentence(f"{where} could not be read"):
        _check_database(uri)
        try:
            tags = MlflowClient(tracking_uri=uri).get_run(run_id).data.tags
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise InputError(
                f"{where} has no run {run_id}; set MLFLOW_TRACKING_URI to the server of the run"
            ) from error
    if CONFIG_TAG not in tags or STORE_TAG not in tags:
        raise InputError(
            f"run {run_id} in {where} shows no experiment of a store; give a run of an experiment "
            "or of an attack"
        )
    return LoggedRun(tags[STORE_TAG], tags[CONFIG_TAG], tags.get(ATTACK_TAG))


def experiment_named(client: MlflowClient, name: str, uri: str, *, view: bool = True) -> Experiment:
    """Return the MLflow experiment with this name.

    A missing experiment is created. A deleted experiment is restored, because MLflow reserves its
    name.

    Args:
        client: MLflow's client.
        name: The name.
        uri: The tracking URI.
        view: Whether the experiment gets the saved view of attacks, unless it has one.
    """
    experiment = client.get_experiment_by_name(name) or _create_experiment(client, name, uri)
    if experiment.lifecycle_stage == LifecycleStage.DELETED:
        log.warning(
            "the deleted MLflow experiment '%s' is restored, because runs are logged to it", name
        )
        _restore_experiment(client, experiment)
        experiment = client.get_experiment(experiment.experiment_id)
    if view and views.VIEW_TAG not in experiment.tags:
        state = views.saved_view(int(1000 * time.time()))
        client.set_experiment_tag(experiment.experiment_id, views.VIEW_TAG, state)
    return experiment


def _create_experiment(client: MlflowClient, name: str, uri: str) -> Experiment:
    database = sqlite_file(uri)
    location = (database.parent / "mlartifacts").absolute().as_uri() if database else None
    # So that MLflow's UI opens on runs and metrics, not on traces of chat models.
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return client.get_experiment(client.create_experiment(name, location, kind))


def _restore_experiment(client: MlflowClient, experiment: Experiment) -> None:
    try:
        client.restore_experiment(experiment.experiment_id)
    except MlflowException as error:
        raise TrackingError(
            f"the MLflow experiment '{experiment.name}' was deleted and cannot be restored "
            f"({without_credentials(str(error).splitlines()[0])}): restore it in MLflow, delete it "
            "for good with 'mlflow gc', or give the spec another name"
        ) from error


def run_with_key(client: MlflowClient, experiment: Experiment, key: str) -> Run | None:
    """Return the run of an MLflow experiment with this key, or None."""
    condition = f"tags.`{KEY_TAG}` = '{key}'"
    runs = client.search_runs([experiment.experiment_id], condition, max_results=1)
    return runs[0] if runs else None


def open_run(
    client: MlflowClient,
    experiment: Experiment,
    key: str,
    name: str,
    digest: str,
    tags: dict[str, str],
    span: Span | None = None,
) -> tuple[Run, bool]:
    """Return the run with this key, created if missing, and whether its content is outdated.

    Args:
        client: MLflow's client.
        experiment: The run's experiment.
        key: The key, unique in the experiment.
        name: Name of a new run.
        digest: Hash of the content that the run should show; see ``filled``.
        tags: Tags of a new or outdated run. Values are cut to MLflow's length; a cut note is also
            logged whole, as an artifact.
        span: Start and end of the computation. Default: a new run starts now.
    """
    run, shown = run_with_key(client, experiment, key), short_tags(tags)
    if run is None:
        run = client.create_run(
            experiment.experiment_id,
            start_time=_milliseconds(span[0]) if span else None,
            run_name=name,
            tags={"mlflow.user": user(), **shown, KEY_TAG: key},
        )
    else:
        there = run.data.tags
        moved = there.get(PARENT_TAG) != tags.get(PARENT_TAG)  # if the parent was deleted
        deleted = DELETED_TAG in there  # if the results were deleted and computed again
        if deleted:
            client.delete_tag(run.info.run_id, DELETED_TAG)
        current = there.get(DIGEST_TAG) == digest and run.info.status != "RUNNING"
        if current and not moved and not deleted:
            return run, False
        client.log_batch(run.info.run_id, tags=[RunTag(k, v) for k, v in shown.items()])
    note = tags.get(NOTE_TAG, "")
    if note != shown.get(NOTE_TAG, ""):
        client.log_text(run.info.run_id, note, NOTE_FILE)
    return run, True


def short_tags(tags: dict[str, str]) -> dict[str, str]:
    """Return tags with values of at most 8000 characters, which fit every database of MLflow.

    A cut note ends with a whole line and the name of the artifact with the whole note. Any other
    cut value ends with an ellipsis.
    """
    return {name: _short(value, name == NOTE_TAG) for name, value in tags.items()}


def _short(value: str, note: bool) -> str:
    if len(value) <= TAG_CHARACTERS:
        return value
    if not note:
        return value[: TAG_CHARACTERS - 1] + "…"
    end = f"\n\nThis note is cut. The artifact {NOTE_FILE} has all {len(value)} characters."
    head = value[: TAG_CHARACTERS - len(end)]
    return (head[: head.rfind("\n")] if "\n" in head else head) + end


@contextmanager
def filled(
    client: MlflowClient,
    run: Run,
    digest: str,
    status: str = "FINISHED",
    span: Span | None = None,
) -> Iterator[None]:
    """Mark a run RUNNING within the context, then record its digest and set its status.

    On SIGTERM or an error the run is marked KILLED and keeps its old digest. Logging the run again
    completes it.

    Args:
        client: MLflow's client.
        run: The run.
        digest: Hash of the content that the run shows.
        status: The run's status after the context.
        span: Start and end of the computation. Default: the run ends now.
    """
    try:
        client.update_run(run.info.run_id, status="RUNNING")
        yield
        client.set_tag(run.info.run_id, DIGEST_TAG, digest)
    except BaseException:
        with suppress(Exception):  # the first error matters more
            client.set_terminated(run.info.run_id, "KILLED")
        raise
    client.set_terminated(run.info.run_id, status, _milliseconds(span[1]) if span else None)


def _milliseconds(seconds: float) -> int:
    return int(1000 * seconds)


def log_metrics(client: MlflowClient, run: Run, metrics: dict[str, float], step: int = 0) -> None:
    """Log finite metrics that differ from the run's: MLflow shows the greater of two values.

    Args:
        client: MLflow's client.
        run: The run.
        metrics: Value by name.
        step: The step of an attack after which the values were measured. MLflow's tables show
            the values of the last step.
    """
    now, shown = int(1000 * time.time()), run.data.metrics
    new = {k: v for k, v in metrics.items() if np.isfinite(v) and shown.get(k) != v}
    known = [Metric(k, v, now, step) for k, v in new.items()]
    for first in range(0, len(known), METRICS_PER_BATCH):
        client.log_batch(run.info.run_id, metrics=known[first : first + METRICS_PER_BATCH])


def log_params(client: MlflowClient, run: Run, params: Mapping[str, object]) -> None:
    """Log parameters that a run lacks. MLflow refuses to change the value of a parameter.

    Args:
        client: MLflow's client.
        run: The run.
        params: Value by name. Empty values and None are left out, and long values are cut.
    """
    known = [
        Param(name, str(value)[:PARAM_CHARACTERS])
        for name, value in params.items()
        if value not in (None, "") and name not in run.data.params
    ]
    for first in range(0, len(known), PARAMS_PER_BATCH):
        client.log_batch(run.info.run_id, params=known[first : first + PARAMS_PER_BATCH])


def version_tags(line: str = "") -> dict[str, str]:
    """Return command, versions and, in a source tree, the commit as tags.

    The tag of the source is the command without overrides such as ``eps=8/255``, because MLflow's
    tables show a source from its last slash on.

    Args:
        line: The command line of the computation. Default: that of this process.
    """
    line = line or command() or "segtransfer"
    source = " ".join(line.split()[:SOURCE_WORDS])
    tags = {COMMAND_TAG: line, "mlflow.source.name": source, "mlflow.source.type": "LOCAL"}
    tags |= {f"version.{name}": version for name, version in versions().items()}
    if sha := commit():
        tags["mlflow.source.git.commit"] = sha
    return tags
