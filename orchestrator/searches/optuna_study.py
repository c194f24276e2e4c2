"""Optuna's study of a search: its storage, its first proposals, and its trials."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from segtransfer import search_spaces
from segtransfer.errors import InputError
from segtransfer.searches.context import PairDrops, RungScore, SearchContext, propose
from segtransfer.searches.spec import DIRECTIONS, Search
from segtransfer.store import Store
from segtransfer.store.store import SEARCHES
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.urls import without_credentials

optuna.logging.set_verbosity(logging.ERROR)

LEAST_TRIALS = 8  # complete trials, for importances to say anything
JOURNAL = "study.journal"
SCORE, REASON, INTERRUPTED = "score", "reason", "interrupted"
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Trial:
    """A trial of the study; ``state`` is complete, pruned, failed or running.

    ``score`` is the score of the last rung, or None; ``reason`` is the cause of a failure.
    """

    number: int
    state: str
    point: Mapping[str, Any]
    score: RungScore | None
    reason: str
    seconds: float


def open_storage(context: SearchContext, store: Store) -> BaseStorage:
    """Open the study's storage: ``search.storage``, or a journal in the store.

    Raises:
        InputError: The storage cannot be opened, or none is named and the store is a bucket.
    """
    where = context.search.search.storage
    if where is None:
        if store.remote:
            raise InputError(
                f"the store {store.location} is a bucket, which holds no Optuna study; give "
                "search.storage a file, or the URL of a database (postgresql+psycopg2://...)"
            )
        path = Path(store.location) / SEARCHES / context.identity / JOURNAL
        path.parent.mkdir(parents=True, exist_ok=True)
        where = str(path)
    try:
        if "://" in where:
            return RDBStorage(where)
        return JournalStorage(JournalFileBackend(where))
    except Exception as error:  # any of the drivers of a database
        raise InputError(f"search.storage {without_credentials(where)}: {error}") from None


def dashboard_command(context: SearchContext) -> str:
    """Return the command that shows the study in Optuna's dashboard (a separate package)."""
    where = (
        context.search.search.storage or Path(context.store) / SEARCHES / context.identity / JOURNAL
    )
    return f"optuna-dashboard {without_credentials(str(where))}"


def open_study(context: SearchContext, storage: BaseStorage, *, resume: bool) -> optuna.Study:
    """Open the search's study, or create it with the space's first points in its queue.

    Points of trials that were running when an earlier search died are proposed again.

    Raises:
        InputError: The study has trials, some are left, and ``resume`` is False.
    """
    study = optuna.create_study(
        study_name=study_name(context),
        storage=storage,
        directions=[DIRECTIONS[name] for name in context.search.search.objectives],
        load_if_exists=True,
    )
    trials = study.get_trials(deepcopy=False)
    left = context.search.search.trials - len(ended(study))
    if trials and not resume and left > 0:
        raise InputError(
            f"this search has {len(ended(study))} ended trials of {context.search.search.trials} "
            "in the store: --resume goes on with it, another seed begins a new one"
        )
    if not trials:
        for point in search_spaces.first_points(context.space, context.search.attack):
            study.enqueue_trial(point)
    for trial in trials:
        if trial.state is TrialState.RUNNING:
            optuna.Trial(study, trial._trial_id).set_user_attr(INTERRUPTED, True)
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)
    return study


def study_name(context: SearchContext) -> str:
    """Return the study's name: the name and the identity of the search."""
    return f"{context.search.name}-{context.identity[:16]}"


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that completed, were pruned, or failed; interrupted trials do not count."""
    trials = study.get_trials(deepcopy=False, states=ENDED)
    return [trial for trial in trials if INTERRUPTED not in trial.user_attrs]


def sampler_of(search: Search, study: optuna.Study) -> optuna.samplers.BaseSampler:
    """Return TPE with the search's number of random first trials; deterministic at concurrency 1.

    A resumed search uses another seed: with the same seed the first proposals would repeat.
    """
    trials = study.get_trials(deepcopy=False)
    begun = sum(trial.state is not TrialState.WAITING for trial in trials)
    seed = search.seed % 2**32
    if begun:
        seed = int(np.random.SeedSequence((search.seed, begun)).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=search.search.startup)


def read_trials(study: optuna.Study) -> list[Trial]:
    """Return every trial that ended or runs, by number; interrupted trials are left out."""
    names = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
        TrialState.RUNNING: "running",
    }
    return [
        Trial(
            number=trial.number,
            state=names[trial.state],
            point=trial.params,
            score=_score(trial.user_attrs.get(SCORE)),
            reason=trial.user_attrs.get(REASON, ""),
            seconds=trial.duration.total_seconds() if trial.duration else 0.0,
        )
        for trial in study.get_trials(deepcopy=False)
        if trial.state in names and INTERRUPTED not in trial.user_attrs
    ]


def _score(kept: Mapping[str, Any] | None) -> RungScore | None:
    return None if kept is None else RungScore(**kept)


def trials_frame(trials: list[Trial]) -> pd.DataFrame:
    """Return one row per trial: number, state, the point, objectives, images, cost, RMS."""
    rows = []
    for trial in trials:
        row: dict[str, Any] = {"trial": trial.number, "state": trial.state, **trial.point}
        if trial.score is not None:
            row |= dict(trial.score.objectives)
            row |= {
                "images": trial.score.images,
                "forward_equivalents": trial.score.forward_equivalents,
                "rms": trial.score.rms,
            }
        rows.append(row | {"seconds": trial.seconds, "reason": trial.reason})
    return pd.DataFrame(rows)


def ranked(trials: list[Trial]) -> list[Trial]:
    """Return the complete trials by falling transfer; of equal points only the first."""
    whole = [t for t in trials if t.state == "complete" and t.score is not None]
    whole.sort(key=lambda t: -_transfer(t))
    first: dict[str, Trial] = {}
    for trial in whole:
        first.setdefault(repr(sorted(trial.point.items())), trial)
    return list(first.values())


def front(trials: list[Trial], objectives: tuple[str, ...]) -> list[Trial]:
    """Return the Pareto-optimal complete trials."""
    whole = ranked(trials)
    signs = np.array([1.0 if DIRECTIONS[name] == "maximize" else -1.0 for name in objectives])
    values = [signs * [_objectives(t)[name] for name in objectives] for t in whole]
    return [
        trial
        for trial, mine in zip(whole, values, strict=True)
        if not any((other >= mine).all() and (other > mine).any() for other in values)
    ]


def chosen(context: SearchContext, trials: list[Trial]) -> list[AttackSpec]:
    """Return the best trials as attacks named best-1, best-2, ..., by falling transfer.

    With several objectives only Pareto-optimal trials count.
    """
    objectives = context.search.search.objectives
    candidates = ranked(trials) if len(objectives) == 1 else front(trials, objectives)
    best = candidates[: context.search.confirm.best]
    return [
        propose(context, trial.point, trial.number).model_copy(update={"name": f"best-{rank}"})
        for rank, trial in enumerate(best, start=1)
    ]


def importances(study: optuna.Study) -> dict[str, float]:
    """Return each field's importance for the first objective, by PED-ANOVA.

    Empty if fewer than ``LEAST_TRIALS`` trials are complete.
    """
    whole = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(whole) < LEAST_TRIALS:
        return {}
    try:
        with warnings.catch_warnings():
            # It warns that it explains what makes its target low (hence the sign), and where a
            # field that is rarely asked for was seen too seldom.
            warnings.simplefilter("ignore")
            shares = optuna.importance.get_param_importances(
                study,
                evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
                target=lambda trial: -trial.values[0],
            )
    except (ValueError, RuntimeError):
        return {}
    return {name: float(value) for name, value in shares.items()}


def drops_of(trials: list[Trial]) -> Iterator[tuple[Trial, PairDrops]]:
    """Yield each complete trial with the drop of every pair, in points."""
    for trial in ranked(trials):
        assert trial.score is not None
        yield trial, {s: dict(row) for s, row in trial.score.drops.items()}


def _objectives(trial: Trial) -> Mapping[str, float]:
    assert trial.score is not None
    return trial.score.objectives


def _transfer(trial: Trial) -> float:
    return _objectives(trial)["transfer"]
