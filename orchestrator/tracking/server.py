"""A check of an MLflow server that takes seconds, by MLflow's own client."""

import os

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from segtransfer.tasks.urls import without_credentials

QUICK = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}  # seconds
ACTIONS = {  # by HTTP status
    401: "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    403: "allow this user and host on the server",
}


def server_trouble(uri: str) -> str:
    """Ask an MLflow server for an experiment, and describe the failure.

    Args:
        uri: The http(s) URL of the server.

    Returns:
        A predicate of the server with an action, or '' if the server answers.
    """
    before = {name: os.environ.get(name) for name in QUICK}
    os.environ.update(QUICK)
    try:
        MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except Exception as error:  # MLflow and the libraries of HTTP raise their own kinds
        return _described(error)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return ""


def _described(error: BaseException) -> str:
    status = error.get_http_status_code() if isinstance(error, MlflowException) else 0
    while error.__context__ is not None:  # the first error of the chain is the shortest
        error = error.__context__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    action = ACTIONS.get(status, "start the server, or correct MLFLOW_TRACKING_URI")
    return f"cannot be used ({without_credentials(lines[0])}); {action}"
