"""The place of MLflow, and tags by which runs are found; MLflow itself is not imported."""

import os
import shlex
from pathlib import Path

import sqlalchemy

from segtransfer.errors import SegtransferError
from segtransfer.tasks.urls import without_credentials

KEY_TAG, DIGEST_TAG = "segtransfer.key", "segtransfer.digest"
DELETED_TAG = "segtransfer.deleted"  # the day on which the run's experiment left the store
PARENT_TAG = "mlflow.parentRunId"
RAY_JOBS_FOLDER = "runtime_resources"  # Ray unpacks the working folders of its jobs in here


class TrackingError(SegtransferError, RuntimeError):
    """MLflow could not be used; also a RuntimeError. The results are in the store."""


def tracking_uri() -> str:
    """Return ``MLFLOW_TRACKING_URI``, or else the URI of ``mlflow.db`` in the working folder.

    Raises:
        TrackingError: The working folder belongs to a Ray job, and Ray deletes the folder.
    """
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    if RAY_JOBS_FOLDER in Path.cwd().parts:
        raise TrackingError(
            f"nothing was logged to MLflow: {Path.cwd() / 'mlflow.db'} would be in the job's "
            "working folder, which Ray deletes after the job; set MLFLOW_TRACKING_URI to the "
            "server, and submit with --env MLFLOW_TRACKING_URI"
        )
    path = str(Path.cwd() / "mlflow.db")
    # SQLAlchemy quotes characters such as % and ? from version 2.1 on.
    return sqlalchemy.URL.create("sqlite", database=path).render_as_string()


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a sqlite tracking URI, which need not exist.

    Args:
        uri: A tracking URI.

    Returns:
        None for another kind of URI, or a database in memory.
    """
    if not uri.startswith("sqlite:"):
        return None
    name = sqlalchemy.make_url(uri).database
    return Path(name) if name else None


def how_to_open(uri: str) -> str:
    """Return the address of an MLflow server, or the command that starts a server for a database.

    Args:
        uri: The tracking URI. Credentials are left out of the result.
    """
    uri = without_credentials(uri)
    if uri.startswith(("http://", "https://")):
        return uri
    return f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
