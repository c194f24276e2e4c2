"""The search: which attack settings transfer best from these sources to models not seen."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna

from segtransfer.errors import InputError
from segtransfer.experiment.plan import make_plan
from segtransfer.results import Results
from segtransfer.runtime.interrupts import HoursUp, Terminated, was_terminated
from segtransfer.runtime.listener import Listener
from segtransfer.runtime.runner import carry_out, stored_results
from segtransfer.runtime.time_limit import TimeLimit
from segtransfer.searches.confirmation import (
    CarryOver,
    ConfirmedDifference,
    carry_over,
    check_apart,
    compare,
)
from segtransfer.searches.context import SearchContext, make_context
from segtransfer.searches.optuna_study import (
    Trial,
    chosen,
    drops_of,
    ended,
    open_storage,
    open_study,
    read_trials,
)
from segtransfer.searches.spec import Search, confirming_experiment
from segtransfer.store import Store
from segtransfer.tasks.attacks.spec import AttackSpec

if TYPE_CHECKING:
    from segtransfer.runtime.ray_driver import RayClient

__all__ = ["SearchListener", "SearchResult", "find"]


@dataclass(frozen=True)
class SearchResult:
    """What a search came to.

    ``best`` are its settings, the first the best; ``results`` compare them with the baselines on
    what the search never saw, and ``carry_over`` says how settings chosen without some targets do
    on those.
    """

    bench: SearchContext
    study: optuna.Study
    trials: list[Trial]
    best: list[AttackSpec]
    results: Results
    comparisons: list[ConfirmedDifference]
    carry_over: list[CarryOver]


class SearchListener:
    """Hears how a search goes; every method may be overridden, and does nothing here."""

    def begun(self, bench: SearchContext, before: list[Trial]) -> None:
        """Once, before the first trial; ``before`` are those that ended in an earlier run."""

    def trials(self, trials: list[Trial]) -> None:
        """Some trial began, reached a rung, or ended."""

    def confirming(self, best: list[AttackSpec]) -> Listener:
        """The trials are through; what is returned hears how the best are confirmed."""
        return Listener()


def find(search: Search, listener: SearchListener, *, resume: bool = False) -> SearchResult:
    """Carry the trials out, then confirm the best against the baselines.

    After SIGTERM, or when the hours of ``runtime.max_hours`` are up, it returns what there is:
    without a comparison where that was not reached. Raises InputError for a wrong search before a
    model is loaded; RuntimeError where no trial went all the way.
    """
    if search.runtime.executor != "ray":
        raise InputError(
            f"a search runs on Ray, and runtime.executor is '{search.runtime.executor}'; give "
            "runtime.executor=ray, or leave it out"
        )
    store = Store(search.runtime.store)
    check_apart(search)
    bench = make_context(search, store)
    make_plan(confirming_experiment(search, []), store)  # what is wrong there is said now
    study = open_study(bench, open_storage(bench, store), resume=resume)
    listener.begun(bench, [trial for trial in read_trials(study) if trial.state != "running"])
    clock = TimeLimit(search.runtime.max_hours)
    with _driver(bench, store, study) as client:
        if client is not None:
            _try(bench, study, client, listener, clock)
        trials = read_trials(study)
        best = chosen(bench, trials)
        if not best:
            raise _nothing_found(search, trials, clock)
        experiment = confirming_experiment(search, best)
        if clock.stopped:
            results = stored_results(experiment, clock.stopped)
        else:
            results = carry_out(experiment, listener.confirming(best), client, clock)
    return SearchResult(
        bench=bench,
        study=study,
        trials=trials,
        best=best,
        results=results,
        comparisons=[] if results.missing else compare(search, results),
        carry_over=carry_over(
            {trial.number: drops for trial, drops in drops_of(trials)}, _groups(bench)
        ),
    )


def _try(
    bench: SearchContext,
    study: optuna.Study,
    client: "RayClient",
    listener: SearchListener,
    clock: TimeLimit,
) -> None:
    """Carry the trials out; the clock says whether something stopped them."""
    # Here, as Tune takes seconds to import.
    from segtransfer.searches.tune import run_trials

    try:
        run_trials(bench, study, client.namespace, listener.trials, clock)
    except KeyboardInterrupt as stop:
        if not was_terminated(stop):
            raise
        clock.stopped = "terminated"
    except HoursUp:
        clock.stopped = "hours"


def _nothing_found(search: Search, trials: list[Trial], clock: TimeLimit) -> BaseException:
    """What a search without a whole trial ends in."""
    if clock.stopped == "terminated":
        return Terminated()
    if clock.stopped:
        return RuntimeError(
            f"stopped after {search.runtime.max_hours:g} h, before a trial went all the way; "
            "--resume goes on with the search"
        )
    reasons = {trial.reason for trial in trials if trial.reason} or {"none was begun"}
    return RuntimeError(f"no trial went all the way: {'; '.join(sorted(reasons)[:3])}")


@contextmanager
def _driver(
    bench: SearchContext, store: Store, study: optuna.Study
) -> Iterator["RayClient | None"]:
    """The driver that trials and confirmation share; None where no trial is left to do."""
    runtime = bench.search.runtime
    if len(ended(study)) >= bench.search.search.trials:
        yield None
        return
    from segtransfer.runtime.fleets import attach
    from segtransfer.runtime.ray_driver import own_driver

    if runtime.fleet.name is not None:
        client = attach(runtime.fleet.name, store.location)
    else:
        client = own_driver(runtime, f"segtransfer-{bench.identity[:16]}")
    try:
        yield client
    finally:
        client.close()


def _groups(bench: SearchContext) -> dict[str, list[str]]:
    """The targets to leave out: each alone, and all of each backbone, where that is another set."""
    groups = {name: [name] for name in bench.search.targets}
    backbones: dict[str, list[str]] = {}
    for name in bench.search.targets:
        backbones.setdefault(str(bench.infos[name].backbone), []).append(name)
    if len(backbones) > 1:
        groups |= {f"all of {name}": names for name, names in backbones.items()}
    return groups
