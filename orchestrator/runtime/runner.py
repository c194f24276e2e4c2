"""Carry out an experiment: plan, drive missing tasks, assemble the results."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime

from pydantic import ValidationError

from segtransfer.errors import InputError
from segtransfer.experiment.manifest import RunRecord, describe
from segtransfer.experiment.plan import Plan, make_plan
from segtransfer.experiment.provenance import command, user
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

    Blocks until all tasks have ended, the time is up, or SIGTERM arrives. The last two return
    partial results; Ctrl-C raises. Damaged stored results are computed again. A task that fails is
    a missing cell in the results.

    Args:
        experiment: The experiment.
        listener: Follows the experiment.
        client: Access to a driver, which stays open. Without it the experiment opens a driver and
            closes the driver at the end.
        time_limit: The time limit of a search with this experiment. Without it
            ``runtime.max_hours`` of the experiment holds.

    Returns:
        The results, with the reasons of failures, the number of computed tasks, and ``stopped`` if
        the run ended early.

    Raises:
        InputError: If the spec is wrong (before any model is loaded), the fleet is not up, or no
            cluster answers.
        OSError: If the store cannot be written.
        DriverError: If the driver on Ray stopped or died.
        KeyboardInterrupt: On Ctrl-C; committed results are kept.
    """
    runtime = with_store(experiment.runtime)
    experiment = experiment.model_copy(update={"runtime": runtime})
    store = Store(runtime.store)
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
    started, record = _now(), _last_record(store, plan.identity)
    manifest = describe(plan).model_copy(update={"run": record})
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
    if outcome.done or record is None:
        manifest = manifest.model_copy(update={"run": _record(experiment, record, started)})
        results = replace(results, manifest=manifest)
    sentences = [warning.sentence for warning in results.warnings]
    store.save_experiment(plan.identity, {**manifest.stored(), "warnings": sentences})
    return replace(
        results, failures=outcome.failures, computed=len(outcome.done), stopped=time_limit.stopped
    )


def _last_record(store: Store, identity: str) -> RunRecord | None:
    """Return the record of an experiment's earlier runs; None without any, or if damaged."""
    try:
        return RunRecord.model_validate((store.description(identity) or {}).get("run"))
    except ValidationError:
        return None


def _record(experiment: Experiment, last: RunRecord | None, started: str) -> RunRecord:
    """Return the record of a run that ends now.

    Args:
        experiment: The experiment.
        last: The record of its earlier runs, or None.
        started: The start of the run, in ISO 8601.
    """
    return RunRecord(
        started=last.started if last else started,
        ended=_now(),
        user=user(),
        command=command(),
        executor=experiment.runtime.executor,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def stored_results(experiment: Experiment, stopped: Stopped) -> Results:
    """Return the stored results of an experiment without computing anything.

    Args:
        experiment: The experiment.
        stopped: The reason that ended the search before the experiment.

    Returns:
        The results, with missing cells for tasks without a result.

    Raises:
        InputError: If the spec is wrong.
    """
    store = Store(experiment.runtime.store)
    plan = make_plan(experiment, store)
    return replace(assemble(store, plan.identity, describe(plan)), stopped=stopped)


class ExperimentRun:
    """A run of an experiment: its plan, its driver, and the outcome of its tasks so far."""

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
        """Drive the missing tasks of the run's plan, or of a part of the plan, to their end.

        Without a client of its own, the run opens a driver for the call, and closes the driver
        after it.

        Args:
            plan: The plan or the part; nothing is done if no task is missing.
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
        """Compute the damaged results of the plan again.

        Damaged AEs count, too. If AEs turn out different from before, their evaluations are
        computed again.

        Args:
            missing: Keys of evaluations whose stored results are damaged or missing.

        Returns:
            Whether there was anything to compute again.
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
        """Compute tasks with damaged results; tasks that failed in this run are left out.

        Args:
            damaged: Keys of the tasks.
        """
        failed = self.outcome.failures.keys()
        tasks = {
            key: task
            for key, task in self._plan.tasks.items()
            if key not in failed and task.depends_on not in failed
        }
        damaged &= tasks.keys()
        stored = frozenset(self._store.keys() & tasks.keys()) - damaged
        self.compute(replace(self._plan, tasks=tasks, stored=stored), damaged)


def with_store(runtime: Runtime) -> Runtime:
    """Return a runtime with the store of its fleet, unless the spec names a store.

    Raises:
        InputError: If no cluster answers, or the fleet is not up.
    """
    store = EXECUTORS[runtime.executor].store_of(runtime)
    return runtime if store == runtime.store else runtime.model_copy(update={"store": store})


@contextmanager
def open_client(runtime: Runtime, identity: str) -> Iterator[DriverClient]:
    """Yield access to the driver that a runtime names or asks for, then close the access.

    A driver of the run's own ends with the access. The driver of a named fleet stays up.

    Args:
        runtime: The runtime options of the run or search.
        identity: The identity of the experiment or search, which names the driver.

    Raises:
        InputError: If no cluster answers, or the runtime names a fleet that cannot be used.
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
