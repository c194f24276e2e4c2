"""Conditions that hold after a run, whatever its disturbances."""

import json
from collections import Counter
from typing import Any

import numpy as np
import ray
from ray._private.internal_api import get_memory_info_reply, get_state_from_address

from segtransfer.results import Results, load_results
from segtransfer.runtime.executors.ray.fleets import status_of
from segtransfer.store import Store
from tests.chaos.disturbed_run import DisturbedRun
from tests.orchestrator.runtime.executors.fleets import exists, live, until

SETTLED = 40.0  # seconds: a lease, and what Ray needs to see that a process is gone
LEAST_LEAK = 100_000  # bytes: a shard's images are larger


def after(oracle: Results, run: DisturbedRun, bytes_before: int) -> list[str]:
    """Return what is wrong, in words."""
    results = load_results(run.store, run.identity)
    wrong = [*other_bits(results, oracle), *notified_twice(run)]
    if len(run.watcher.rows) != len(oracle.store.keys()):
        wrong.append(f"{len(run.watcher.rows)} rows, inline {len(oracle.store.keys())}")
    for what, holds in (
        ("a client is left", lambda: not status_of("chaos").status.clients),
        ("tasks are left", lambda: not sum(status_of("chaos").status.counts.values())),
        ("actors are left", lambda: only_the_fleet_is_left()),
        ("processes are left", lambda: not processes_left(run)),
        ("objects are left", lambda: object_store_bytes() < bytes_before + LEAST_LEAK),
    ):
        try:
            until(what, holds, timeout=SETTLED, every=0.2)
        except AssertionError:
            wrong.append(f"{what}: {status_of('chaos').status}, {object_store_bytes()} bytes")
    return wrong


def other_bits(results: Results, oracle: Results) -> list[str]:
    """Return the arrays that differ from inline's, by cell because the keys differ."""
    wrong = []
    ours, theirs = by_cell(results), by_cell(oracle)
    if ours.keys() != theirs.keys():
        return ["other cells than inline's"]
    for cell, (key, attack) in ours.items():
        pairs = [
            (scores(results.store, key), scores(oracle.store, theirs[cell][0])),
            (made(results.store, attack), made(oracle.store, theirs[cell][1])),
        ]
        for mine, right in pairs:
            if (mine is None) != (right is None):
                wrong.append(f"{cell}: {'missing' if mine is None else 'there'}, unlike inline")
            elif mine is not None and not np.array_equal(mine, right):
                wrong.append(f"{cell}: other bits than inline")
    return wrong


def by_cell(results: Results) -> dict[tuple[Any, ...], tuple[str, str | None]]:
    return {tuple(cell[:4]): (cell[4], cell[5]) for cell in results.manifest.rows}


def scores(store: Store, key: str) -> np.ndarray | None:
    evaluation = store.evaluation(key)
    if evaluation is None:
        return None
    return np.concatenate([evaluation.confusions.ravel(), evaluation.predictions.ravel()])


def made(store: Store, key: str | None) -> np.ndarray | None:
    return None if key is None else store.attack_images(key)


def notified_twice(run: DisturbedRun) -> list[str]:
    """Return the tasks that a client was notified of more than once."""
    wrong = []
    for notice_file in run.notice_files:
        lines = notice_file.read_text().splitlines() if notice_file.exists() else []
        notices = [json.loads(line) for line in lines if line.startswith("[") and line[-1] == "]"]
        counts = Counter(key for kind, key in notices if kind == "done")
        wrong += [
            f"{notice_file.name} notified {n} times of {key}" for key, n in counts.items() if n > 1
        ]
    return wrong


def only_the_fleet_is_left() -> bool:
    """One driver, and a worker for each of its slots."""
    slots = len(status_of("chaos").status.slots)
    return len(live("Driver")) == 1 and len(live("ModelActor")) == slots > 0


def processes_left(run: DisturbedRun) -> set[int]:
    """Processes of actors that Ray counts as dead."""
    alive = {*live("ModelActor").values(), *live("Driver").values()}
    return {process for process in run.processes - alive if process and exists(process)}


def object_store_bytes() -> int:
    """Return the bytes of referenced objects.

    Ray deletes other copies only when the room is needed, even if their node or process is dead.
    """
    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    return get_memory_info_reply(state).store_stats.object_store_bytes_primary_copy
