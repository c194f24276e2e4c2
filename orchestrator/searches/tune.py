"""Ray Tune carries the trials out: each is a client of the driver, and loads no model."""

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

# Read when ray.tune is imported: our own listener tells how it goes, and Ctrl-C is ours.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "100000")

import optuna
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from segtransfer import search_spaces
from segtransfer.errors import InputError
from segtransfer.runtime.interrupts import HoursUp
from segtransfer.runtime.ray_driver import DriverError, join_driver
from segtransfer.runtime.time_limit import TimeLimit
from segtransfer.searches.context import (
    Score,
    SearchContext,
    TrialError,
    keep_results,
    propose,
    try_attack,
)
from segtransfer.searches.optuna_study import REASON, SCORE, Trial, ended, read_trials, sampler_of
from segtransfer.searches.spec import DIRECTIONS
from segtransfer.store import Store

log = logging.getLogger(__name__)

FAILED, RUNG = "failed", "rung_cost"
CPUS = 0.01  # of a trial: it waits for the driver, the models work elsewhere
DEATHS = 3  # of a trial's process, after which the trial counts as failed


def run_trials(
    bench: SearchContext,
    study: optuna.Study,
    namespace: str,
    tell: Callable[[list[Trial]], None],
    clock: TimeLimit,
) -> None:
    """Carry out the trials that the study lacks, as clients of the driver in ``namespace``.

    The cluster must be joined. Trials that fail are recorded with their reason, and the rest go on;
    whatever ends this early, the study and the store have what was done. Raises HoursUp when the
    clock's time is up.
    """
    tries = bench.search.search
    left = tries.trials - len(ended(study))
    if left <= 0:
        return
    objectives = tries.objectives
    several = len(objectives) > 1
    modes = [DIRECTIONS[name][:3] for name in objectives]
    searcher = StudySearch(
        _define_by_run(bench),
        metric=list(objectives) if several else objectives[0],
        mode=modes if several else modes[0],
        sampler=sampler_of(bench.search, study),
        study_name=study.study_name,
        storage=study._storage,
        last_rung=len(bench.rungs) - 1,
    )
    with (
        _open_desk(bench, namespace) as desk,
        tempfile.TemporaryDirectory(prefix="segtransfer-tune-") as folder,
    ):
        tuner = tune.Tuner(
            tune.with_resources(trainable_of(desk, len(bench.rungs)), {"cpu": CPUS}),
            tune_config=tune.TuneConfig(
                metric=None if several else objectives[0],
                mode=None if several else modes[0],
                search_alg=searcher,
                scheduler=_scheduler(bench, several),
                num_samples=left,
                max_concurrent_trials=tries.concurrency,
            ),
            run_config=tune.RunConfig(
                name=study.study_name,
                storage_path=folder,
                verbose=0,
                stop=Hours(clock),
                callbacks=[_Tell(study, tell)],
                failure_config=tune.FailureConfig(max_failures=DEATHS - 1),
            ),
        )
        with warnings.catch_warnings():
            # A journal on a slow disk is no heavy computation.
            warnings.filterwarnings("ignore", message="Define-by-run function")
            tuner.fit()
    tell(read_trials(study))


class StudySearch(OptunaSearch):
    """OptunaSearch that keeps each trial's score in the study, tells Optuna which were pruned, and
    why others failed: as it comes, it tells that all of them are complete."""

    def __init__(self, space: Callable[[Any], dict[str, Any]], last_rung: int, **options: Any):
        super().__init__(space, **options)
        self._last_rung = last_rung

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if FAILED not in result:
            self._keep(trial_id, SCORE, json.loads(result[SCORE]))
            super().on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if error or not result or FAILED in result:
            reason = (result or {}).get(FAILED, f"its process died {DEATHS} times")
            self._keep(trial_id, REASON, reason)
            super().on_trial_complete(trial_id, None, error=True)
            return
        score = json.loads(result[SCORE])
        self._keep(trial_id, SCORE, score)
        if score["rung"] < self._last_rung:
            # By the values of its rungs Optuna still learns from it; the last one comes here alone.
            super().on_trial_result(trial_id, result)
            super().on_trial_complete(trial_id, None)
        else:
            super().on_trial_complete(trial_id, result)

    def save(self, checkpoint_path: str) -> None:
        """Nothing is restored from Tune's files: a search resumes by the study and the store."""
        Path(checkpoint_path).touch()

    def _keep(self, trial_id: str, name: str, value: Any) -> None:
        self._ot_trials[trial_id].set_user_attr(name, value)


class Hours(tune.Stopper):
    """Ends a search whose time is up by an exception: trials that Tune itself stops would be told
    as ended, and --resume would not try them again."""

    def __init__(self, clock: TimeLimit) -> None:
        self._clock = clock

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self._clock.time_is_up():
            raise HoursUp
        return False


class _Tell(tune.Callback):
    """Tells how the study stands, whenever that changed."""

    def __init__(self, study: optuna.Study, tell: Callable[[list[Trial]], None]) -> None:
        self._study, self._listen = study, tell

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps a copy in its files, which nobody reads; a terminal cannot be kept."""
        return {}

    def _tell(self) -> None:
        self._listen(read_trials(self._study))

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._tell()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell()


class Desk:
    """An actor that carries trials out for their processes: what takes seconds to import is here,
    so that a trial's process begins at once. Each trial is a client of the driver of its own.

    Annotations travel with an actor's handle: what they name is written in quotes, lest every
    trial import it.
    """

    def __init__(self, bench: "SearchContext", namespace: str) -> None:
        self._bench, self._store = bench, Store(bench.store)
        self._client = join_driver(namespace, bench.store)
        self._trials: dict[int, tuple[Iterator[Score], int]] = {}

    def carry_out(self, number: int, point: Mapping[str, Any], rung: int) -> dict[str, Any]:
        """What a trial reports of its next rung: its score, or why it failed.

        A trial, or a desk, that was started anew begins again: the store has what was done.
        """
        try:
            scores, done = self._trials.pop(number, (iter(()), -1))
            if done != rung:
                scores = islice(self._scores(number, point), rung, None)
            score = next(scores)
            self._trials[number] = scores, rung + 1
        except (TrialError, DriverError, InputError) as error:
            return {FAILED: str(error)}
        except Exception as error:  # else Tune would try it again, and keep no word of it
            log.exception("trial %d failed", number)
            return {FAILED: f"{type(error).__name__}: {error}"}
        cost = self._bench.search.search.reduction**score.rung
        return {**score.objectives, RUNG: cost, SCORE: json.dumps(asdict(score))}

    def _scores(self, number: int, point: Mapping[str, Any]) -> Iterator[Score]:
        attack = propose(self._bench, point, number)
        keep = keep_results(self._bench, number, self._store)
        return try_attack(self._bench, attack, self._client, self._store, keep)


def trainable_of(desk: Any, rungs: int) -> Callable[..., None]:
    """What the process of a trial does: ask the desk, rung by rung, and report.

    A function in a function travels by value, so that the process imports nothing of ours.
    """

    def trial(config: Mapping[str, Any], desk: Any) -> None:
        import ray
        from ray import tune

        for rung in range(rungs):
            asked = desk.carry_out.remote(config["number"], config["point"], rung)
            answer = ray.get(asked)
            tune.report(answer)
            if "failed" in answer:
                return

    return tune.with_parameters(trial, desk=desk)


def _define_by_run(bench: SearchContext) -> Callable[[Any], dict[str, Any]]:
    """What Optuna asks a trial, and what Tune hands to its process."""

    def propose_one(trial: Any) -> dict[str, Any]:
        return {"point": search_spaces.suggest(bench.space, trial), "number": trial.number}

    return propose_one


def _scheduler(bench: SearchContext, several: bool) -> TrialScheduler:
    """ASHA over the rungs; with several objectives none is given up early."""
    rungs, tries = len(bench.rungs), bench.search.search
    if several or rungs == 1:
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr=RUNG,
        metric=None,
        mode=None,
        grace_period=1,
        max_t=tries.reduction ** (rungs - 1),
        reduction_factor=tries.reduction,
    )


@contextmanager
def _open_desk(bench: SearchContext, namespace: str) -> Iterator[Any]:
    """The desk, which Ray starts anew where it dies; it ends with the trials."""
    options = {
        "num_cpus": 0,
        "resources": _here(bench),
        "max_concurrency": bench.search.search.concurrency + 1,
        "max_restarts": -1,
        "max_task_retries": -1,  # what it does twice it finds in the store
    }
    desk: Any = ray.remote(Desk).options(**options).remote(bench, namespace)
    try:
        yield desk
    finally:
        ray.kill(desk)


def _here(bench: SearchContext) -> dict[str, float]:
    """This node, where the store is a folder, which others may not see."""
    here = f"node:{ray.util.get_node_ip_address()}"
    return {} if Store(bench.store).remote else {here: 0.0001}
