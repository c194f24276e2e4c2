"""Carry out an experiment: plan, drive missing tasks, assemble the results."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from segtransfer.errors import InputError
from segtransfer.experiment.manifest import describe
from segtransfer.experiment.plan import Plan, make_plan
from segtransfer.experiment.runtime_spec import EXECUTORS, Runtime
from segtransfer.experiment.spec import Experiment
from segtransfer.results import Results, assemble
from segtransfer.results.results import Stopped
from segtransfer.runtime.client import DriverClient
from segtransfer.runtime.drive import Outcome, drive, served_models
from segtransfer.runtime.interrupts import was_terminated
from segtransfer.runtime.listener import Listener
from segtransfer.runtime.sessions import Submission
from segtransfer.runtime.time_limit import TimeLimit
from segtransfer.store import Store
from segtransfer.store.maintenance.healing import LostImages
from segtransfer.store.maintenance.leases import in_use
from segtransfer.store.pending_shards import PendingShards


def carry_out(
    experiment: Experiment,
    listener: Listener | None = None,
    client: DriverClient | None = None,
    time_limit: TimeLimit | None = None,
) -> Results:
    """Compute the missing results of an experiment, and return all its results.

    Damaged results count as missing. A task that fails is a missing cell in the results.

    Args:
        experiment: The experiment.
        listener: Follows the experiment.
        client: Access to a driver. Without it the experiment gets a driver of its own.
        time_limit: The time limit of a search that the experiment is part of. Without it the
            experiment's own limit holds.

    Raises:
        InputError: If the spec is wrong, before any model is loaded.
    """
    store = Store(experiment.runtime.store)
    with in_use(store, f"run {experiment.name}"):
        return _carry_out(experiment, store, listener, client, time_limit)


def _carry_out(
    experiment: Experiment,
    store: Store,
    listener: Listener | None,
    client: DriverClient | None,
    time_limit: TimeLimit | None,
) -> Results:
    read, listener = PendingShards(store), listener or Listener()
    plan = make_plan(experiment, store, read.add, listener.stage)
    listener.planned(plan)
    manifest = describe(plan)
    store.save_experiment(plan.identity, manifest.stored())
    read.write()
    time_limit = time_limit or TimeLimit(experiment.runtime.max_hours)
    run = ExperimentRun(plan, store, time_limit, listener, client)
    outcome = run.outcome
    try:
        run.compute(plan)
        results = assemble(store, plan.identity, manifest)
        if not time_limit.stopped and run.heal(results.missing):
            results = assemble(store, plan.identity, manifest)
    except KeyboardInterrupt as stop:
        if not was_terminated(stop):
            raise
        time_limit.stopped = "terminated"
        results = assemble(store, plan.identity, manifest)
    sentences = [warning.sentence for warning in results.warnings]
    store.save_experiment(plan.identity, {**manifest.stored(), "warnings": sentences})
    return replace(
        results, failures=outcome.failures, computed=len(outcome.done), stopped=time_limit.stopped
    )


def stored_results(experiment: Experiment, stopped: Stopped) -> Results:
    """Return the stored results of an experiment that is not carried out.

    Args:
        experiment: The experiment.
        stopped: The reason that ended the search before the experiment.
    """
    store = Store(experiment.runtime.store)
    plan = make_plan(experiment, store)
    return replace(assemble(store, plan.identity, describe(plan)), stopped=stopped)


class ExperimentRun:
    """An experiment under way: its plan, its driver, and the outcome of its tasks so far."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        time_limit: TimeLimit,
        listener: Listener,
        client: DriverClient | None,
    ) -> None:
        self.outcome = Outcome()
        self._plan = plan
        self._store = store
        self._time_limit = time_limit
        self._listener = listener
        self._client = client

    def compute(self, plan: Plan, damaged: frozenset[str] = frozenset()) -> None:
        """Compute the missing tasks of the run's plan, or of a part of the plan.

        Args:
            plan: The plan or the part.
            damaged: Keys of tasks whose stored results are damaged.
        """
        if not plan.missing:
            return
        self._listener.stage("Starting workers and loading models")
        models = served_models(plan)
        submission = Submission(plan.tasks, models, plan.stored, damaged, plan.largest_size)
        runtime, given = plan.experiment.runtime, self._client
        with nullcontext(given) if given else open_client(runtime, plan.identity) as driver:
            drive(driver, submission, self._store, self.outcome, self._time_limit, self._listener)

    def heal(self, missing: frozenset[str]) -> bool:
        """Compute the damaged results of the plan again; return whether there were any.

        Args:
            missing: Keys of evaluations whose stored results are damaged.
        """
        damaged = missing - self.outcome.failures.keys()
        attacks = {key for key, task in self._plan.tasks.items() if task.attack is not None}
        lost = LostImages(self._store, attacks & self._plan.stored - self.outcome.done)
        if not damaged | lost.keys:
            return False
        self.compute_again(damaged | lost.keys)
        changed = lost.changed()
        if scores := {k for k, task in self._plan.tasks.items() if task.depends_on in changed}:
            self.compute_again(frozenset(scores))
        return True

    def compute_again(self, damaged: frozenset[str]) -> None:
        """Compute tasks with damaged results; tasks that failed in this run are left out."""
        failed = self.outcome.failures.keys()
        tasks = {
            key: task
            for key, task in self._plan.tasks.items()
            if key not in failed and task.depends_on not in failed
        }
        damaged &= tasks.keys()
        stored = frozenset(self._store.keys() & tasks.keys()) - damaged
        self.compute(replace(self._plan, tasks=tasks, stored=stored), damaged)


@contextmanager
def open_client(runtime: Runtime, identity: str) -> Iterator[DriverClient]:
    """Yield access to the driver that a runtime names or asks for, then close the access.

    Args:
        runtime: The execution of the run or search.
        identity: The identity of the experiment or search.

    Raises:
        InputError: If the runtime names a fleet that cannot be used.
    """
    executor = EXECUTORS[runtime.executor]
    if runtime.fleet.name is not None and not executor.workers:
        raise InputError(
            f"Fleets need Ray, but runtime.executor is '{runtime.executor}'. Set "
            "runtime.executor=ray or remove runtime.fleet.name."
        )
    client: DriverClient = executor.connect(runtime, f"segtransfer-{identity[:16]}")
    try:
        yield client
    finally:
        client.close()
