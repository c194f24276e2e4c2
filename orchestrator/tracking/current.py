"""Whether the runs in a local MLflow database show results as they are, told without MLflow.

The import of MLflow takes seconds, more than all else if nothing was computed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from segtransfer.tracking.places import (
    DELETED_TAG,
    DIGEST_TAG,
    KEY_TAG,
    PARENT_TAG,
    sqlite_file,
)
from segtransfer.tracking.views import VIEW_TAG, address

if TYPE_CHECKING:
    from segtransfer.results import Results

EXPERIMENT = """
SELECT e.experiment_id FROM experiments AS e
JOIN experiment_tags AS t ON t.experiment_id = e.experiment_id
WHERE e.name = ? AND e.lifecycle_stage = 'active' AND t.key = ?
"""
TAGS = """
SELECT r.run_uuid, r.status, t.key, t.value FROM runs AS r JOIN tags AS t ON t.run_uuid = r.run_uuid
WHERE r.experiment_id = ? AND r.lifecycle_stage = 'active' ORDER BY r.start_time
"""
STATUS = "status"  # beside the tags of a run


def logged_attacks(results: Results) -> dict[str, list[str]]:
    """Return the variants with a run of their own, with the earlier iterates shown in each run.

    An attack has a run per form of scoring (raw, eps*sign, equal-rms). Iterates at earlier steps
    are metrics by step of this run.

    Args:
        results: The results.

    Returns:
        The names of earlier iterates, by step, by the name of the last iterate.
    """
    kinds: dict[tuple[str, str], list[str]] = {}
    for name, variant in results.variants.items():
        kinds.setdefault((variant.attack, variant.score), []).append(name)
    for names in kinds.values():
        names.sort(key=lambda name: results.variants[name].step)
    return {names[-1]: names[:-1] for names in kinds.values()}


def key_of_attack(results: Results, attack: str) -> str:
    """Return the key of an attack's run, unique in the MLflow experiment."""
    return f"{results.identity}/{attack}"


def current_address(results: Results, uri: str) -> str | None:
    """Return the UI's address of runs that show results as they are.

    Args:
        results: The results.
        uri: The tracking URI.

    Returns:
        None if a run is missing, outdated, unfinished or deleted; and if the tables are not in a
        file of sqlite, or have another form. ``log_results`` then finds and writes the runs.
    """
    file = sqlite_file(uri)
    if file is None or not file.is_file():
        return None
    try:
        where = f"{file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(where, timeout=0, uri=True)) as database:
            found = database.execute(EXPERIMENT, (results.name, VIEW_TAG)).fetchall()
            if len(found) != 1:
                return None
            rows = database.execute(TAGS, found[0]).fetchall()
    except sqlite3.Error:
        return None
    tags: dict[str, dict[str, str]] = {}
    for run, status, name, value in rows:
        tags.setdefault(run, {STATUS: status})[name] = value
    return address(uri, str(found[0][0])) if _are_current(results, tags) else None


def _are_current(results: Results, tags: Mapping[str, Mapping[str, str]]) -> bool:
    """Tell whether the run of the experiment and the run of each attack show the results.

    Args:
        results: The results.
        tags: Tags and status by name, by the id of the run, the oldest run first.
    """
    newest = {of_run[KEY_TAG]: run for run, of_run in tags.items() if KEY_TAG in of_run}
    runs = {
        key: run
        for key, run in newest.items()
        if tags[run].get(DIGEST_TAG) == results.digest
        and tags[run][STATUS] != "RUNNING"
        and DELETED_TAG not in tags[run]
    }
    parent = runs.get(results.identity)
    attacks = [runs.get(key_of_attack(results, attack)) for attack in logged_attacks(results)]
    return parent is not None and all(
        run is not None and tags[run].get(PARENT_TAG) == parent for run in attacks
    )
