"""Carry out an experiment: plan, drive what is missing, assemble the results."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from segtransfer.errors import InputError
from segtransfer.experiment.plan import Plan, make_plan
from segtransfer.experiment.spec import Experiment
from segtransfer.results import FORMAT, Results, load_results, results_of
from segtransfer.results.results import Stopped
from segtransfer.runtime.driver import Driver
from segtransfer.runtime.executors.base import Served
from segtransfer.runtime.interrupts import was_terminated
from segtransfer.runtime.sessions import (
    DriverClient,
    LocalClient,
    Notice,
    Submission,
    UnknownClientError,
)
from segtransfer.runtime.status import Status, log_to
from segtransfer.store import Store

log = logging.getLogger(__name__)

STATUS_EVERY = 1.0  # seconds


class Listener:
    """Hears how an experiment goes; every method may be overridden, and does nothing here."""

    def planned(self, plan: Plan) -> None:
        """Once, before anything is computed."""

    def notice(self, notice: Notice) -> None:
        """Each thing that happened to a task or a slot."""

    def status(self, status: Status) -> None:
        """How the fleet is doing, about once a second."""


class TimeLimit:
    """The hours that a run may take; ``stopped`` says what ended it before its work was done."""

    def __init__(self, max_hours: float | None) -> None:
        self._end = None if max_hours is None else time.monotonic() + 3600 * max_hours
        self.stopped: Stopped = ""

    def time_is_up(self) -> bool:
        if self._end is not None and time.monotonic() > self._end:
            self.stopped = "hours"
        return bool(self.stopped)


def carry_out(
    experiment: Experiment,
    listener: Listener | None = None,
    client: DriverClient | None = None,
    clock: TimeLimit | None = None,
) -> Results:
    """Compute what the store lacks, and return the whole experiment's results.

    By the driver of ``client`` where there is one, else by one of its own; within the hours of
    ``clock`` where it is part of something longer, else of its own. Damaged results count as
    missing and are computed again. Raises InputError for a wrong spec before any model is
    loaded; a task's own failure is a missing cell in the results.
    """
    store = Store(experiment.runtime.store)
    plan = make_plan(experiment, store)
    if listener:
        listener.planned(plan)
    store.save_experiment(plan.identity, describe(plan))
    outcome, clock = Outcome(), clock or TimeLimit(experiment.runtime.max_hours)
    try:
        _drive(plan, store, listener, clock, outcome, client)
        results = load_results(store, plan.identity)
        damaged = results.missing - outcome.failures.keys()
        if damaged and not clock.stopped:
            _drive_again(plan, store, listener, clock, outcome, client, damaged)
            results = load_results(store, plan.identity)
    except KeyboardInterrupt as stop:
        if not was_terminated(stop):
            raise
        clock.stopped = "terminated"
        results = load_results(store, plan.identity)
    return replace(
        results, failures=outcome.failures, computed=len(outcome.done), stopped=clock.stopped
    )


def stored_results(experiment: Experiment, stopped: Stopped) -> Results:
    """What the store has of an experiment that is not carried out: what led to it was stopped."""
    store = Store(experiment.runtime.store)
    plan = make_plan(experiment, store)
    return replace(results_of(store, plan.identity, describe(plan)), stopped=stopped)


@dataclass
class Outcome:
    """What became of the tasks of a run: why some have no result, and which now have one."""

    failures: dict[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def note(self, notice: Notice) -> None:
        if notice.kind in ("failed", "skipped"):
            self.failures[notice.key] = notice.message
        elif notice.kind == "done":
            self.done.add(notice.key)
            # A driver that was started anew has tried again what had failed.
            self.failures.pop(notice.key, None)


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
            for number, made in enumerate(attack.variants)
        ],
        "shards": list(plan.shards),
        "cells": [
            [c.attack, c.source, c.target, c.shard_id, c.key, c.attack_key] for c in plan.cells
        ],
    }


def _drive(
    plan: Plan,
    store: Store,
    listener: Listener | None,
    clock: TimeLimit,
    outcome: Outcome,
    client: DriverClient | None,
    damaged: frozenset[str] = frozenset(),
) -> None:
    """Run the missing tasks to their end, or until the time is up."""
    for shard in plan.shards.values():
        store.put_shard(shard)
    if not plan.missing:
        return
    submission = Submission(plan.tasks, served(plan), plan.stored, damaged)
    with nullcontext(client) if client else open_client(plan, store) as driver:
        drive(driver, submission, store, outcome, clock, listener)


def drive(
    driver: DriverClient,
    submission: Submission,
    store: Store,
    outcome: Outcome,
    clock: TimeLimit,
    listener: Listener | None = None,
) -> None:
    """Hand in what is missing, and hear of it to its end, or until the time is up."""
    while True:
        try:
            _listen(driver, submission, listener, clock, outcome)
            return
        except UnknownClientError:
            # The driver was started anew and knows nothing of us: what it did is stored.
            log.warning("the driver was started anew: going on with what is not stored yet")
            damaged = submission.damaged - outcome.done
            stored = frozenset(store.keys() & submission.tasks.keys()) - damaged
            submission = replace(submission, stored=stored, damaged=damaged)


def _listen(
    driver: DriverClient,
    submission: Submission,
    listener: Listener | None,
    clock: TimeLimit,
    outcome: Outcome,
) -> None:
    """Submit, and hear what becomes of it until nothing is left or the time is up."""
    client, heard, asked = driver.submit(submission), 0, time.monotonic()
    try:
        while not clock.time_is_up():
            notices = driver.events(client, heard)
            heard += len(notices)
            for notice in notices:
                outcome.note(notice)
                if listener:
                    listener.notice(notice)
            if notices and notices[-1].kind == "finished":
                break
            if listener and time.monotonic() - asked > STATUS_EVERY:
                asked = time.monotonic()
                listener.status(driver.status())
    finally:
        # A driver that died, or was started anew, knows nothing of this client.
        with suppress(RuntimeError, UnknownClientError):
            driver.cancel(client)


def _drive_again(
    plan: Plan,
    store: Store,
    listener: Listener | None,
    clock: TimeLimit,
    outcome: Outcome,
    client: DriverClient | None,
    damaged: frozenset[str],
) -> None:
    """Compute what turned out to be damaged; what just failed is not tried again."""
    failed = outcome.failures.keys()
    tasks = {
        key: task
        for key, task in plan.tasks.items()
        if key not in failed and task.depends_on not in failed
    }
    damaged &= tasks.keys()
    stored = frozenset(store.keys() & tasks.keys()) - damaged
    again = replace(plan, tasks=tasks, stored=stored)
    _drive(again, store, listener, clock, outcome, client, damaged)


def served(plan: Plan) -> dict[str, Served]:
    """The models by the names that tasks use, as slots host them."""
    numerics = plan.experiment.numerics
    return {
        name: Served(spec, plan.infos[spec.name].fingerprint, numerics)
        for name, spec in plan.models.items()
    }


@contextmanager
def open_client(plan: Plan, store: Store) -> Iterator[DriverClient]:
    """The driver that the plan's runtime names or asks for; it ends with the context."""
    runtime = plan.experiment.runtime
    if runtime.fleet.name is not None and runtime.executor != "ray":
        raise InputError(
            f"fleet '{runtime.fleet.name}' is one of Ray, and runtime.executor is "
            f"'{runtime.executor}'; give runtime.executor=ray, or no fleet"
        )
    if runtime.executor == "ray":
        from segtransfer.runtime.ray_driver import attach, own_driver

        if runtime.fleet.name is not None:
            client: DriverClient = attach(runtime.fleet.name, store.location)
        else:
            client = own_driver(runtime, f"segtransfer-{plan.identity[:16]}")
    else:
        from segtransfer.runtime.executors.inline import InlineExecutor

        if runtime.log is not None:
            log_to(runtime.log)
        executor = InlineExecutor(micro_batch=runtime.micro_batch)
        client = LocalClient(Driver(executor, store, runtime))
    try:
        yield client
    finally:
        client.close()
