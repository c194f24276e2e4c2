"""The trials in Ray Tune: each is a client of the driver and loads no model."""

import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

# Read when ray.tune is imported: progress and Ctrl-C are handled by segtransfer.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "100000")

import optuna
import ray
from ray import tune
from ray.tune import TuneError
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from segtransfer import search_spaces
from segtransfer.errors import InputError
from segtransfer.runtime.executors.ray.driver import DriverError, join_driver
from segtransfer.runtime.interrupts import HoursUp
from segtransfer.runtime.time_limit import TimeLimit
from segtransfer.searches.context import (
    RungScore,
    SearchContext,
    TrialError,
    keep_results,
    propose,
    score_rungs,
)
from segtransfer.searches.optuna_study import REASON, SCORE, Trial, ended, read_trials
from segtransfer.searches.proposals import PRUNERS, SAMPLERS, Asha, named_in_errors
from segtransfer.searches.spec import DIRECTIONS, SearchSettings
from segtransfer.store import Store

log = logging.getLogger(__name__)

FAILED, RUNG = "failed", "rung_cost"
CPUS = 0.01  # per trial, because a trial waits for the driver and loads no model
DEATHS = 3  # of a trial's process, after which the trial counts as failed


def run_trials(
    context: SearchContext,
    study: optuna.Study,
    namespace: str,
    notify: Callable[[list[Trial]], None],
    clock: TimeLimit,
) -> None:
    """Run the missing trials of a study as clients of a driver; the cluster must be joined.

    A failed trial is recorded with its reason, and the others continue. Computed results are kept.

    Args:
        context: Models, shards and space of the search.
        study: The Optuna study, which receives every trial.
        namespace: Ray's namespace of the driver.
        notify: Called with all trials when a trial begins, reaches a rung, or ends.
        clock: The time limit of the search.

    Raises:
        HoursUp: If the time limit has passed.
        InputError: If the user's sampler or pruner failed.
        KeyboardInterrupt: On SIGINT or SIGTERM.
    """
    left = context.search.search.trials - len(ended(study))
    if left <= 0:
        return
    with (
        _open_runner(context, namespace) as runner,
        tempfile.TemporaryDirectory(prefix="segtransfer-tune-") as folder,
    ):
        tuner = tune.Tuner(
            tune.with_resources(trainable_of(runner, len(context.rungs)), {"cpu": CPUS}),
            tune_config=_tune_config(context, study, left),
            run_config=tune.RunConfig(
                name=study.study_name,
                storage_path=folder,
                verbose=0,
                stop=TimeLimitStopper(clock),
                callbacks=[_TrialsCallback(study, notify)],
                failure_config=tune.FailureConfig(max_failures=DEATHS - 1),
            ),
        )
        _fit(tuner)
    notify(read_trials(study))


def _fit(tuner: tune.Tuner) -> None:
    """Run a tuner; an error of the user's pruner is raised as such, not as Tune's."""
    with warnings.catch_warnings():
        # Tune takes the time of a journal on a slow disk for a heavy computation.
        warnings.filterwarnings("ignore", message="Define-by-run function")
        try:
            tuner.fit()
        except TuneError as error:
            if isinstance(error.__context__, InputError):
                raise error.__context__ from None
            raise


def _tune_config(context: SearchContext, study: optuna.Study, trials: int) -> tune.TuneConfig:
    """Return sampler, scheduler and objectives for ``trials`` more trials, in Tune's terms."""
    settings = context.search.search
    objectives = settings.objectives
    several = len(objectives) > 1
    modes = [DIRECTIONS[name][:3] for name in objectives]
    searcher = StudySearch(
        _define_by_run(context),
        metric=list(objectives) if several else objectives[0],
        mode=modes if several else modes[0],
        study=study,
        settings=settings,
        last_rung=len(context.rungs) - 1,
    )
    return tune.TuneConfig(
        metric=None if several else objectives[0],
        mode=None if several else modes[0],
        search_alg=searcher,
        scheduler=_scheduler(context, study.pruner, searcher),
        num_samples=trials,
        max_concurrent_trials=settings.concurrency,
    )


class StudySearch(OptunaSearch):
    """OptunaSearch that keeps each trial's score and true state in the study.

    Tune's own class reports pruned and failed trials to Optuna as complete.
    """

    _ot_study: Any  # a Study; mypy infers None

    def __init__(
        self,
        space: Callable[[Any], dict[str, Any]],
        study: optuna.Study,
        settings: SearchSettings,
        last_rung: int,
        **options: Any,
    ):
        super().__init__(
            space,
            sampler=study.sampler,
            study_name=study.study_name,
            storage=study._storage,
            **options,
        )
        self._ot_study.pruner = study.pruner
        self._settings, self._last_rung = settings, last_rung
        self._scores: dict[str, str] = {}  # the last report to the study, by trial

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next proposal, or None if there is none.

        Raises:
            InputError: If the user's sampler failed.
        """
        with named_in_errors(SAMPLERS, self._settings.sampler):
            return super().suggest(trial_id)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Store a rung's score in the study, once."""
        if FAILED not in result and result[SCORE] != self._scores.get(trial_id):
            self._scores[trial_id] = result[SCORE]
            self._keep(trial_id, SCORE, json.loads(result[SCORE]))
            super().on_trial_result(trial_id, result)

    def prunes(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Report a rung to the study, and return whether the study's pruner ends the trial.

        Raises:
            InputError: If the user's pruner failed.
        """
        self.on_trial_result(trial_id, result)
        with named_in_errors(PRUNERS, self._settings.pruner):
            return FAILED not in result and self._ot_trials[trial_id].should_prune()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Store a trial's state in the study: failed with its reason, pruned, or complete."""
        if error or not result or FAILED in result:
            reason = (result or {}).get(FAILED, f"its process died {DEATHS} times")
            self._keep(trial_id, REASON, reason)
            super().on_trial_complete(trial_id, None, error=True)
            return
        # Optuna learns from each rung; Tune passes the last rung to this method alone.
        self.on_trial_result(trial_id, result)
        if json.loads(result[SCORE])["rung"] < self._last_rung:
            super().on_trial_complete(trial_id, None)
        else:
            super().on_trial_complete(trial_id, result)

    def save(self, checkpoint_path: str) -> None:
        """Write an empty file, because a search resumes from the study and the store."""
        Path(checkpoint_path).touch()

    def _keep(self, trial_id: str, name: str, value: Any) -> None:
        self._ot_trials[trial_id].set_user_attr(name, value)


class TimeLimitStopper(tune.Stopper):
    """Stopper that ends a search by an exception when its time limit has passed.

    Trials stopped by Tune itself would be recorded as ended, and --resume would leave them out.
    """

    def __init__(self, clock: TimeLimit) -> None:
        self._clock = clock

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False, because no trial ends alone."""
        return False

    def stop_all(self) -> bool:
        """Return False within the time limit.

        Raises:
            HoursUp: If the time limit has passed.
        """
        if self._clock.time_is_up():
            raise HoursUp
        return False


class _TrialsCallback(tune.Callback):
    """Callback that passes on all trials of the study after each change."""

    def __init__(self, study: optuna.Study, notify: Callable[[list[Trial]], None]) -> None:
        self._study, self._notify = study, notify

    def __getstate__(self) -> dict[str, Any]:
        """Return no state: Tune's copy is never read, and a terminal cannot be pickled."""
        return {}

    def _pass_on(self) -> None:
        self._notify(read_trials(self._study))

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._pass_on()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._pass_on()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._pass_on()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._pass_on()


class TrialRunner:
    """Actor that runs the trials for their processes; each trial is a client of the driver.

    Libraries that take seconds to import are here, so that a trial's process starts at once.
    Annotations are part of an actor's handle, so classes are named in quotes; otherwise every
    trial's process would import them.
    """

    def __init__(self, context: "SearchContext", namespace: str) -> None:
        self._context, self._store = context, Store(context.store)
        self._client = join_driver(namespace, context.store)
        self._trials: dict[int, tuple[Iterator[RungScore], int]] = {}

    def run_rung(self, number: int, point: Mapping[str, Any], rung: int) -> dict[str, Any]:
        """Return the report of a trial's rung.

        A restarted trial or runner begins again and finds finished tasks in the store.

        Args:
            number: The trial's number.
            point: The values of the space's fields.
            rung: The number of the rung.

        Returns:
            Values by objective, the rung's cost for ASHA and the score as JSON; or, under
            ``FAILED``, the reason of the failure.
        """
        try:
            scores, done = self._trials.pop(number, (iter(()), -1))
            if done != rung:
                scores = islice(self._scores(number, point), rung, None)
            score = next(scores)
            self._trials[number] = scores, rung + 1
        except (TrialError, DriverError, InputError) as error:
            return {FAILED: str(error)}
        except Exception as error:  # otherwise Tune would retry, and lose the reason
            log.exception("trial %d failed", number)
            return {FAILED: f"{type(error).__name__}: {error}"}
        cost = self._context.search.search.reduction**score.rung
        return {**score.objectives, RUNG: cost, SCORE: json.dumps(asdict(score))}

    def _scores(self, number: int, point: Mapping[str, Any]) -> Iterator[RungScore]:
        attack = propose(self._context, point, number)
        keep = keep_results(self._context, number, self._store)
        return score_rungs(self._context, attack, self._client, self._store, keep)


def trainable_of(runner: Any, rungs: int) -> Callable[..., None]:
    """Return the function of a trial's process: it requests each rung from the runner and reports.

    A nested function is pickled by value, so the process imports no module of segtransfer.

    Args:
        runner: The handle of the ``TrialRunner``.
        rungs: The number of rungs.
    """

    def trial(config: Mapping[str, Any], runner: Any) -> None:
        import ray
        from ray import tune

        for rung in range(rungs):
            reference = runner.run_rung.remote(config["number"], config["point"], rung)
            report = ray.get(reference)
            tune.report(report)
            if "failed" in report:
                return

    return tune.with_parameters(trial, runner=runner)


def _define_by_run(context: SearchContext) -> Callable[[Any], dict[str, Any]]:
    """Return the function that samples a trial's point, and returns it with the trial's number."""

    def propose_one(trial: Any) -> dict[str, Any]:
        return {"point": search_spaces.suggest_point(context.space, trial), "number": trial.number}

    return propose_one


def _scheduler(
    context: SearchContext, pruner: optuna.pruners.BasePruner, searcher: StudySearch
) -> TrialScheduler:
    """Return the scheduler of the search's pruner; with several objectives none prunes."""
    rungs, settings = len(context.rungs), context.search.search
    if len(settings.objectives) > 1 or rungs == 1:
        return FIFOScheduler()
    if not isinstance(pruner, Asha):
        return StudyPruning(searcher)
    return ASHAScheduler(
        time_attr=RUNG,
        metric=None,
        mode=None,
        grace_period=1,
        max_t=settings.reduction ** (rungs - 1),
        reduction_factor=settings.reduction,
    )


class StudyPruning(FIFOScheduler):
    """Scheduler that ends a trial at a rung if the study's pruner decides so."""

    def __init__(self, searcher: StudySearch) -> None:
        super().__init__()
        self._searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return STOP if the pruner ends the trial, else CONTINUE."""
        prunes = self._searcher.prunes(trial.trial_id, result)
        return TrialScheduler.STOP if prunes else TrialScheduler.CONTINUE


@contextmanager
def _open_runner(context: SearchContext, namespace: str) -> Iterator[Any]:
    """Start the trial runner, which Ray restarts if it dies, and kill it on exit."""
    options = {
        "num_cpus": 0,
        "scheduling_strategy": _placement(context),
        "max_concurrency": context.search.search.concurrency + 1,
        "max_restarts": -1,
        "max_task_retries": -1,  # tasks of a repeated call are found in the store
    }
    runner: Any = ray.remote(TrialRunner).options(**options).remote(context, namespace)
    try:
        yield runner
    finally:
        ray.kill(runner)


def _placement(context: SearchContext) -> Any:
    """Return this node for a store in a folder, which other nodes may not see, else any node."""
    if Store(context.store).remote:
        return "DEFAULT"
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
