"""Runs in MLflow: where they are kept, found again by their key, and read."""

import io
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# Before mlflow is imported: an unreachable server is given up in seconds, not in minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from mlflow.entities import Experiment, Metric, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.experiment.provenance import commit, versions
from segtransfer.tasks.urls import without_credentials
from segtransfer.tracking import views

for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)

KEY, DIGEST = "segtransfer.key", "segtransfer.digest"
CONFIG, STORE, ATTACK = "segtransfer.config", "segtransfer.store", "segtransfer.attack"
BATCH = 900  # a batch takes 1000 metrics
JOB_FOLDERS = "runtime_resources"  # where Ray unpacks the working folders of its jobs
DPI = 256  # of a small figure: MLflow shows it at a quarter


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
    """``MLFLOW_TRACKING_URI``, else a sqlite file in the working folder.

    Raises TrackingError where that folder is a Ray job's, which Ray deletes after it.
    """
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    if JOB_FOLDERS in Path.cwd().parts:
        raise TrackingError(
            f"nothing was logged to MLflow: {Path.cwd() / 'mlflow.db'} would lie in the job's "
            "working folder, which goes with the job; name the server in MLFLOW_TRACKING_URI, and "
            "hand it on with 'segtransfer submit ... --env MLFLOW_TRACKING_URI'"
        )
    return f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def how_to_open(uri: str) -> str:
    """The command or address that shows the runs."""
    uri = without_credentials(uri)
    if uri.startswith(("http://", "https://")):
        return uri
    return f"mlflow ui --backend-store-uri {uri}"


def runs_address(uri: str, name: str) -> str:
    """Where the UI shows the attacks of an experiment side by side, by MLflow's default port.

    Raises TrackingError.
    """
    with writing() as (client, _):
        experiment = experiment_named(client, name, uri)
    server = uri if uri.startswith(("http://", "https://")) else "http://127.0.0.1:5000"
    return f"{without_credentials(server).rstrip('/')}/{views.place(experiment.experiment_id)}"


@contextmanager
def writing() -> Iterator[tuple[MlflowClient, str]]:
    """A client, and its URI; raises TrackingError for what goes wrong with it."""
    uri = tracking_uri()
    try:
        yield MlflowClient(tracking_uri=uri), uri
    except (MlflowException, OSError) as error:
        # What MLflow says may hold the credentials of its URLs.
        message = f"MLflow at {uri} could not be written: {error}"
        raise TrackingError(without_credentials(message)) from error


def read_run(run_id: str) -> LoggedRun:
    """What a run was logged from.

    Raises InputError where there is no such run, or it is not of an experiment; TrackingError where
    MLflow cannot be read.
    """
    uri = tracking_uri()
    where = f"MLflow at {without_credentials(uri)}"
    try:
        tags = MlflowClient(tracking_uri=uri).get_run(run_id).data.tags
    except (MlflowException, OSError) as error:
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            raise InputError(
                f"there is no run {run_id} in {where}; set MLFLOW_TRACKING_URI to where it is"
            ) from None
        raise TrackingError(without_credentials(f"{where} could not be read: {error}")) from error
    if CONFIG not in tags or STORE not in tags:
        raise InputError(
            f"run {run_id} in {where} shows no experiment of a store; give a run of an experiment "
            "or of one of its attacks"
        )
    return LoggedRun(tags[STORE], tags[CONFIG], tags.get(ATTACK))


def experiment_named(client: MlflowClient, name: str, uri: str) -> Experiment:
    """The MLflow experiment of this name, made where there is none."""
    found = client.get_experiment_by_name(name) or _make(client, name, uri)
    if views.TAG not in found.tags:
        view = views.saved_view(int(1000 * time.time()))
        client.set_experiment_tag(found.experiment_id, views.TAG, view)
    return found


def _make(client: MlflowClient, name: str, uri: str) -> Experiment:
    local = uri.startswith("sqlite:///")
    artifacts = (Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts") if local else None
    location = artifacts.absolute().as_uri() if artifacts else None
    # So that MLflow's UI opens on runs and metrics, not on traces of chat models.
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return client.get_experiment(client.create_experiment(name, location, kind))


def find(client: MlflowClient, experiment: Experiment, key: str) -> Run | None:
    """The run of this key."""
    found = client.search_runs([experiment.experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1)
    return found[0] if found else None


def open_run(
    client: MlflowClient,
    experiment: Experiment,
    key: str,
    name: str,
    digest: str,
    tags: dict[str, str],
) -> tuple[Run, bool]:
    """The run of this key, made where there is none; and whether it shows another ``digest``,
    so that it is to be ``filled``."""
    run = find(client, experiment, key)
    if run is None:
        tags = {**tags, KEY: key}
        return client.create_run(experiment.experiment_id, run_name=name, tags=tags), True
    current = run.data.tags.get(DIGEST) == digest and run.info.status != "RUNNING"
    if not current:
        client.log_batch(run.info.run_id, tags=[RunTag(k, v) for k, v in tags.items()])
    return run, not current


@contextmanager
def filled(client: MlflowClient, run: Run, digest: str, status: str = "FINISHED") -> Iterator[None]:
    """RUNNING while the context lasts; then it shows all that its digest stands for.

    Where SIGTERM or an error ends the context, the run is KILLED, until it is logged again.
    """
    try:
        client.update_run(run.info.run_id, status="RUNNING")
        yield
        client.set_tag(run.info.run_id, DIGEST, digest)
    except BaseException:
        with suppress(Exception):  # MLflow may be what failed, and why matters more
            client.set_terminated(run.info.run_id, "KILLED")
        raise
    client.set_terminated(run.info.run_id, status)


def log_metrics(client: MlflowClient, run: Run, metrics: dict[str, float]) -> None:
    """Those that a run does not show yet: of two values of one time MLflow shows the greater."""
    now, shown = int(1000 * time.time()), run.data.metrics
    new = {k: v for k, v in metrics.items() if np.isfinite(v) and shown.get(k) != v}
    known = [Metric(k, v, now, 0) for k, v in new.items()]
    for first in range(0, len(known), BATCH):
        client.log_batch(run.info.run_id, metrics=known[first : first + BATCH])


def log_table(client: MlflowClient, run: Run, frame: pd.DataFrame, name: str) -> None:
    """A table as a file that MLflow shows side by side; ``log_table`` would append to an older."""
    if any(item.path == name for item in client.list_artifacts(run.info.run_id)):
        content = json.loads(frame.to_json(orient="split", index=False))
        client.log_dict(run.info.run_id, content, name)
    else:
        client.log_table(run.info.run_id, frame, name)


def log_picture(client: MlflowClient, run: Run, name: str, whole: Path, small: Figure) -> None:
    """A picture under the same name in every run: as a file, and small for the UI's image grid.

    The grid shows the newest of a name, at most 256 pixels wide.
    """
    client.log_image(run.info.run_id, Image.open(whole), artifact_file=f"{name}.png")
    file = io.BytesIO()
    small.savefig(file, dpi=DPI)
    client.log_image(run.info.run_id, Image.open(file), key=name)


def made_with() -> dict[str, str]:
    """Versions and, in a source tree, the commit, as tags."""
    tags = {"mlflow.source.name": "segtransfer"}
    tags |= {f"version.{name}": version for name, version in versions().items()}
    if sha := commit():
        tags["mlflow.source.git.commit"] = sha
    return tags
