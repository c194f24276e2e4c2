"""Marks on MLflow runs whose experiment or trial was deleted from its store."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import PurePosixPath

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from segtransfer.store import Store
from segtransfer.store.store import SEARCHES
from segtransfer.tracking.places import DELETED_TAG, sqlite_file, tracking_uri
from segtransfer.tracking.runs import CONFIG_TAG, STORE_TAG, writing

RUNS_PER_PAGE = 1000


def deleted_runs(store: Store) -> list[Run]:
    """Return the unmarked MLflow runs whose experiment or trial is missing in their store.

    Args:
        store: The store; runs of other stores are left out. No database is created.

    Returns:
        The runs; empty without a local MLflow database.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    database = sqlite_file(tracking_uri())
    if database is not None and not database.exists():
        return []
    held = _held(store)
    with writing() as (client, _):
        return [
            run
            for run in _logged(client)
            if run.data.tags[STORE_TAG] == store.location
            and run.data.tags.get(CONFIG_TAG) not in held
            and DELETED_TAG not in run.data.tags
        ]


def mark_deleted(runs: list[Run]) -> None:
    """Tag runs as deleted from their store, with the date. Logging a run again removes the tag.

    Args:
        runs: The runs.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    today = datetime.now(UTC).date().isoformat()
    with writing() as (client, _):
        for run in runs:
            client.set_tag(run.info.run_id, DELETED_TAG, today)


def _held(store: Store) -> set[str]:
    """Return the identities of a store's experiments, and the keys of its trials in MLflow."""
    held = {PurePosixPath(path).stem for path in store.files.names("experiments")}
    for path in map(PurePosixPath, store.files.names(SEARCHES)):
        held.add(f"{path.parent.name}-{path.stem.removeprefix('trial-')}")
    return held


def _logged(client: MlflowClient) -> Iterator[Run]:
    """Yield all MLflow runs with the location of a store."""
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    token, more = None, bool(ids)
    while more:
        page = client.search_runs(
            ids, f"tags.`{STORE_TAG}` LIKE '%'", max_results=RUNS_PER_PAGE, page_token=token
        )
        yield from page
        token = page.token
        more = bool(token)
