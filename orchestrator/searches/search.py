"""The search for attack settings that transfer best: trials, then their confirmation."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import optuna
from optuna.storages import BaseStorage

from segtransfer.errors import InputError
from segtransfer.experiment.plan import make_plan
from segtransfer.experiment.runtime_spec import EXECUTORS
from segtransfer.results import Results
from segtransfer.runtime.interrupts import HoursUp, Terminated, was_terminated
from segtransfer.runtime.runner import (
    Listener,
    TimeLimit,
    carry_out,
    open_client,
    stored_results,
    with_store,
)
from segtransfer.searches.against import (
    AgainstRandom,
    against_random,
    check_against,
    random_contexts,
)
from segtransfer.searches.confirmation import (
    CarryOver,
    ConfirmedDifference,
    carry_over,
    check_apart,
    compare,
    verdict,
)
from segtransfer.searches.context import SearchContext, make_context
from segtransfer.searches.optuna_study import (
    Trial,
    chosen,
    close_trials,
    drops_of,
    ended,
    open_storage,
    open_study,
    read_trials,
    storage_in_use,
)
from segtransfer.searches.spec import Search, confirming_experiment
from segtransfer.shown import Tabled
from segtransfer.store import Store
from segtransfer.store.maintenance.leases import in_use
from segtransfer.tasks.attacks.spec import AttackSpec


@dataclass(frozen=True)
class SearchResult(Tabled):
    """The result of a search.

        result = segtransfer.search("search.yaml")
        result.best[0]                           # the spec of the attack best-1
        result.results.headlines("best-1", "drop")

    Attributes:
        context: Models, shards and space of the search.
        study: The Optuna study.
        trials: All trials, by number.
        best: The attacks ``best-1``, ``best-2``, ..., by falling transfer.
        results: The confirming results: best attacks and baselines on images and models that the
            search did not use.
        comparisons: The best attacks minus the baselines; empty if the confirmation is incomplete.
        carry_over: The drops, on left-out targets, of the settings selected without these targets.
        against: The comparison with random searches, or None if not requested or incomplete.
    """

    context: SearchContext
    study: optuna.Study
    trials: list[Trial]
    best: list[AttackSpec]
    results: Results
    comparisons: list[ConfirmedDifference]
    carry_over: list[CarryOver]
    against: AgainstRandom | None = None
    surfaces: ClassVar[str] = "segtransfer.reporting.search_surfaces"

    def __repr__(self) -> str:
        search = self.context.search
        told = (
            verdict(self.comparisons, self.context.quality)
            if self.comparisons
            else "The confirmation is incomplete."
        )
        return (
            f"<SearchResult {search.name}-{self.context.identity[:8]}: {len(self.trials)} trials, "
            f"{len(self.best)} best settings>\n{told}"
        )


class SearchListener:
    """Receiver of a search's progress; each method does nothing and may be overridden."""

    def begun(self, context: SearchContext, before: list[Trial]) -> None:
        """Receive the search, once, before the first trial.

        Args:
            context: Models, shards and space of the search.
            before: The trials that ended in an earlier run.
        """

    def trials(self, trials: list[Trial]) -> None:
        """Receive all trials when a trial begins, reaches a rung, or ends.

        Args:
            trials: All trials, by number.
        """

    def confirming(self, best: list[AttackSpec]) -> Listener:
        """Return the listener of the confirming run, after all trials have ended.

        Args:
            best: The attacks to confirm.
        """
        return Listener()

    def comparing(self, context: SearchContext) -> None:
        """Receive each random search of ``against``, before its trials.

        Args:
            context: The context of the random search.
        """


def run_search(
    search: Search,
    listener: SearchListener,
    *,
    resume: bool = False,
    against: str | None = None,
) -> SearchResult:
    """Run the trials of a search, then compare the best with the baselines.

    After SIGTERM, or after ``runtime.max_hours``, the result has no comparison unless the
    confirmation was complete.

    Args:
        search: The search. Its executor must have workers (``ray``).
        listener: Receives trials and the confirmation while the search runs.
        resume: Whether to continue a search that has trials in the store.
        against: ``random`` also runs random searches of other seeds and compares with them.

    Returns:
        The trials, the best attacks and their comparison with the baselines.

    Raises:
        InputError: If the search is wrong; raised before a model is loaded.
        ServerError: If the storage of the study failed.
        RuntimeError: If no trial completed.
    """
    if not EXECUTORS[search.runtime.executor].workers:
        raise InputError(
            f"Searches need Ray, but runtime.executor is '{search.runtime.executor}'. Set "
            "runtime.executor=ray or remove runtime.executor."
        )
    search = search.model_copy(update={"runtime": with_store(search.runtime)})
    store = Store(search.runtime.store)
    with in_use(store, f"search {search.name}"):
        check_apart(search)
        context = make_context(search, store)
        check_against(against, context)
        make_plan(confirming_experiment(search, []), store)  # to raise its errors before the trials
        contexts = [context, *(random_contexts(context) if against else ())]
        return _run_search(contexts, listener, open_storage(context, store), resume=resume)


def _run_search(
    contexts: Sequence[SearchContext],
    listener: SearchListener,
    storage: BaseStorage,
    *,
    resume: bool,
) -> SearchResult:
    """Run a search, the first of ``contexts``, and the random searches for comparison."""
    context, search = contexts[0], contexts[0].search
    study = open_study(context, storage, resume=resume)
    others = [(other, open_study(other, storage, resume=True)) for other in contexts[1:]]
    listener.begun(context, [trial for trial in read_trials(study) if trial.state != "running"])
    clock = TimeLimit(search.runtime.max_hours)
    studies = [study, *(other for _, other in others)]
    with (
        storage_in_use(context),
        _closed_at_end(studies, storage),
        _driver(context, studies) as client,
    ):
        if client is not None:
            _run_trials(context, study, client, listener, clock)
        trials = read_trials(study)
        best = chosen(context, trials)
        if not best:
            raise _error_without_trial(search, trials, clock)
        experiment = confirming_experiment(search, best)
        if clock.stopped:
            results = stored_results(experiment, clock.stopped)
        else:
            results = carry_out(experiment, listener.confirming(best), client, clock)
        for other, its_study in others:
            if client is not None and not clock.stopped and not results.stopped:
                listener.comparing(other)
                _run_trials(other, its_study, client, listener, clock)
        rivals = [read_trials(its_study) for _, its_study in others]
    return SearchResult(
        context=context,
        study=study,
        trials=trials,
        best=best,
        results=results,
        comparisons=[] if results.missing else compare(search, results),
        carry_over=carry_over(
            {trial.number: drops for trial, drops in drops_of(trials)}, _groups(context)
        ),
        against=against_random(trials, rivals) if _are_complete(context, studies) else None,
    )


def _run_trials(
    context: SearchContext,
    study: optuna.Study,
    client: Any,
    listener: SearchListener,
    clock: TimeLimit,
) -> None:
    """Run the trials; set ``clock.stopped`` if SIGTERM or the time limit ends them."""
    # Imported here because Tune takes seconds to import.
    from segtransfer.searches.tune import run_trials

    try:
        run_trials(context, study, client.namespace, listener.trials, clock)
    except KeyboardInterrupt as stop:
        if not was_terminated(stop):
            raise
        clock.stopped = "terminated"
    except HoursUp:
        clock.stopped = "hours"


def _error_without_trial(search: Search, trials: list[Trial], clock: TimeLimit) -> BaseException:
    """Return the error of a search without a complete trial."""
    if clock.stopped == "terminated":
        return Terminated()
    if clock.stopped:
        return RuntimeError(
            f"The search stopped after {search.runtime.max_hours:g} h (runtime.max_hours), before "
            "a trial completed. Add --resume to continue the search."
        )
    reasons = {trial.reason for trial in trials if trial.reason} or {"no trial started"}
    return RuntimeError(f"No trial completed: {'; '.join(sorted(reasons)[:3])}")


@contextmanager
def _closed_at_end(studies: Sequence[optuna.Study], storage: BaseStorage) -> Iterator[None]:
    """Leave no trial of the studies waiting or running on any exit of the context."""
    with ExitStack() as stack:
        for study in studies:
            stack.callback(close_trials, study, storage)
        yield


@contextmanager
def _driver(context: SearchContext, studies: Sequence[optuna.Study]) -> Iterator[Any]:
    """Open the driver shared by trials and confirmation; yield None if all trials have ended."""
    if _are_complete(context, studies):
        yield None
        return
    with open_client(context.search.runtime, context.identity) as client:
        yield client


def _are_complete(context: SearchContext, studies: Sequence[optuna.Study]) -> bool:
    """Return whether all trials of all studies have ended."""
    return all(len(ended(study)) >= context.search.search.trials for study in studies)


def _groups(context: SearchContext) -> dict[str, list[str]]:
    """Return the targets to leave out: each alone, and per backbone if there are several."""
    groups = {name: [name] for name in context.search.targets}
    backbones: dict[str, list[str]] = {}
    for name in context.search.targets:
        backbones.setdefault(str(context.infos[name].backbone), []).append(name)
    if len(backbones) > 1:
        groups |= {f"all of {name}": names for name, names in backbones.items()}
    return groups
