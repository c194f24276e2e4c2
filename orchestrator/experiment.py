"""Carry out an experiment: plan, drive what is missing, assemble the results."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, Protocol

from orchestrator.driver import Driver, DriverClient, LocalClient, Notice, Submission
from orchestrator.plan import Plan, make_plan
from orchestrator.results import FORMAT, Results, load_results
from orchestrator.spec import Experiment
from orchestrator.store import Store


class Listener(Protocol):
    """Hears how an experiment goes."""

    def planned(self, plan: Plan) -> None: ...

    def notice(self, notice: Notice) -> None: ...


def carry_out(experiment: Experiment, listener: Listener | None = None) -> Results:
    """Compute what the store lacks, and return the whole experiment's results.

    Damaged results count as missing and are computed again. Raises InputError for a wrong spec
    before any model is loaded; a task's own failure is a missing cell in the results.
    """
    store = Store(experiment.runtime.store)
    plan = make_plan(experiment, store)
    if listener:
        listener.planned(plan)
    store.save_experiment(plan.identity, describe(plan))
    failures = _drive(plan, store, listener)
    results = load_results(store, plan.identity)
    damaged = results.missing - failures.keys()
    computed = len(plan.missing)
    if damaged:
        # What just failed is not tried again, and what was just computed is stored.
        tasks = {key: task for key, task in plan.tasks.items() if key not in failures}
        stored = frozenset(store.keys() & tasks.keys()) - damaged
        plan = replace(plan, tasks=tasks, stored=stored)
        computed += len(plan.missing)
        failures |= _drive(plan, store, listener)
        results = load_results(store, plan.identity)
    return replace(results, failures=failures, computed=computed)


def describe(plan: Plan) -> dict[str, Any]:
    """What the store keeps of an experiment: enough to draw its results without data or models."""
    spec = plan.experiment.model_dump(mode="json", exclude={"runtime"})
    names = [model.name for model in plan.experiment.models]
    return {
        "format": FORMAT,
        "spec": spec,
        "dataset": plan.dataset.name,
        "classes": plan.dataset.classes,
        "palette": plan.dataset.palette,
        "models": {
            name: {
                "fingerprint": plan.infos[name].fingerprint,
                "backbone": plan.infos[name].backbone,
                "networks": plan.infos[name].networks,
            }
            for name in names
        },
        "sources": [model.name for model in plan.experiment.source_models],
        "targets": [model.name for model in plan.experiment.target_models],
        "attacks": [
            {"attack": attack.name, "made": number, **asdict(made)}
            for attack in plan.experiment.attacks
            for number, made in enumerate(attack.made)
        ],
        "shards": list(plan.shards),
        "cells": [
            [c.attack, c.source, c.target, c.shard_id, c.key, c.attack_key] for c in plan.cells
        ],
    }


def _drive(plan: Plan, store: Store, listener: Listener | None) -> dict[str, str]:
    """Run the missing tasks to their end; returns what failed or was skipped, and why."""
    for shard in plan.shards.values():
        store.put_shard(shard)
    if not plan.missing:
        return {}
    failures: dict[str, str] = {}
    with _client(plan, store) as driver:
        client = driver.submit(Submission(plan.tasks, plan.models, plan.stored))
        try:
            for notice in _notices(driver, client):
                if notice.kind in ("failed", "skipped"):
                    failures[notice.key] = notice.message
                if listener:
                    listener.notice(notice)
        except KeyboardInterrupt:
            driver.cancel(client)
            raise
    return failures


def _notices(driver: DriverClient, client: str) -> Iterable[Notice]:
    heard = 0
    while True:
        for notice in driver.events(client, heard):
            heard += 1
            yield notice
            if notice.kind == "finished":
                return


@contextmanager
def _client(plan: Plan, store: Store) -> Iterator[DriverClient]:
    runtime, numerics = plan.experiment.runtime, plan.experiment.numerics
    if runtime.executor == "ray":
        from orchestrator.executors.ray_driver import RayClient

        client: DriverClient = RayClient(runtime, numerics, f"segtransfer-{plan.identity[:16]}")
    else:
        from orchestrator.executors.inline import InlineExecutor

        executor = InlineExecutor(micro_batch=runtime.micro_batch, numerics=numerics)
        client = LocalClient(Driver(executor, store, runtime))
    try:
        yield client
    finally:
        client.close()
