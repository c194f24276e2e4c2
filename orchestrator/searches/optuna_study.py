"""Optuna's study of a search: its storage, its first proposals, and its trials."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from segtransfer import search_spaces
from segtransfer.errors import InputError, ServerError
from segtransfer.searches.context import PairDrops, RungScore, SearchContext, propose
from segtransfer.searches.proposals import make_pruner, make_sampler
from segtransfer.searches.spec import DIRECTIONS, Search, baselines
from segtransfer.store import Store
from segtransfer.store.store import SEARCHES
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.urls import without_credentials

optuna.logging.set_verbosity(logging.ERROR)

LEAST_TRIALS = 8  # complete trials, for importances to say anything
JOURNAL = "study.journal"
SCORE, REASON, INTERRUPTED, AGAIN = "score", "reason", "interrupted", "again"
UNPROPOSED = "to be proposed again"  # value of INTERRUPTED; AGAIN of a later trial has its number
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
    where = storage_location(context)
    if context.search.search.storage is None:
        if store.remote:
            raise InputError(
                f"the store {store.location} is a bucket, which holds no Optuna study; give "
                "search.storage a file, or the URL of a database (postgresql+psycopg://...)"
            )
        Path(where).parent.mkdir(parents=True, exist_ok=True)
    with _opening(where):
        if "://" in where:
            return RDBStorage(where)
        return JournalStorage(JournalFileBackend(where))


def storage_location(context: SearchContext) -> str:
    """Return the file or URL of the study's storage."""
    journal = Path(context.store) / SEARCHES / context.identity / JOURNAL
    return context.search.search.storage or str(journal)


@contextmanager
def _opening(where: str) -> Iterator[None]:
    """Turn any exception of Optuna, of a database or of its driver into an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"search.storage {without_credentials(where)} cannot be used: {_cause(error)}; repair "
            "it, or name another one (results of earlier trials stay in the store)"
        ) from error


@contextmanager
def storage_in_use(context: SearchContext) -> Iterator[None]:
    """Turn an error of the study's storage, also one that Tune passes on, into a sentence.

    Raises:
        ServerError: The storage failed within the context.
    """
    try:
        yield
    except Exception as error:
        link: BaseException | None = error
        while link is not None and not isinstance(link, OptunaError | SQLAlchemyError):
            link = link.__cause__ or link.__context__
        if link is None:
            raise
        raise ServerError(
            f"the study in {without_credentials(storage_location(context))} cannot be used any "
            f"more: {_cause(link)}; what was done before is in the store"
        ) from error


def _cause(error: BaseException) -> str:
    """Return the first line of the first cause: Optuna's own messages hide the database's."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{line} (install it)" if isinstance(error, ImportError) else line


def dashboard_command(context: SearchContext) -> str:
    """Return the command that shows the study in Optuna's dashboard (a separate package).

    The name of a database's user stays, or the command would not work; a spec has no password.
    """
    return f"optuna-dashboard {storage_location(context)}"


def open_study(context: SearchContext, storage: BaseStorage, *, resume: bool) -> optuna.Study:
    """Open the search's study, or create it with the space's first points in its queue.

    Points of trials that an earlier search left unfinished are proposed again.

    Raises:
        InputError: The study has trials, some are left, and ``resume`` is False; the storage
            cannot be used; or the sampler or the pruner cannot be made.
    """
    settings = context.search.search
    pruner = make_pruner(settings.pruner)
    with _opening(storage_location(context)), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of names of metrics
        study = optuna.create_study(
            study_name=study_name(context),
            storage=storage,
            pruner=pruner,
            directions=[DIRECTIONS[name] for name in settings.objectives],
            load_if_exists=True,
        )
        study.set_metric_names(list(settings.objectives))
        for name, value in _about(context).items():
            study.set_user_attr(name, value)
        trials = study.get_trials(deepcopy=False)
    left = settings.trials - len(ended(study))
    if trials and not resume and left > 0:
        raise InputError(
            f"this search has {len(ended(study))} ended trials of {settings.trials} "
            "in the store: --resume goes on with it, another seed begins a new one"
        )
    study.sampler = sampler_of(context.search, study)
    if not trials:
        for point in search_spaces.first_points(context.space, context.search.attack):
            study.enqueue_trial(point)
    else:
        close_trials(study, storage)
        if left > 0:
            _propose_again(study)
    return study


def _about(context: SearchContext) -> dict[str, Any]:
    """Return the attributes by which Optuna's dashboard tells what a study is about."""
    search = context.search
    return {
        "transfer": "mean drop in mIoU on models other than the source, in points",
        "sources": ", ".join(search.sources),
        "targets": ", ".join(search.targets),
        "images": sum(len(outline.image_ids) for outline in context.outlines),
        "attack": dict(search.attack),
        "space": context.space.name,
        "sampler": search.search.sampler,
        "pruner": search.search.pruner,
    }


def close_trials(study: optuna.Study, storage: BaseStorage) -> None:
    """Fail the trials that wait or run, as interrupted: no process runs them any more."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING)):
        storage.set_trial_user_attr(trial._trial_id, INTERRUPTED, UNPROPOSED)
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def _propose_again(study: optuna.Study) -> None:
    """Put points of interrupted trials into the study's queue, each once."""
    trials = study.get_trials(deepcopy=False)
    queued = {trial.user_attrs.get(AGAIN) for trial in trials}
    for trial in trials:
        point = trial.system_attrs.get("fixed_params", {}) | trial.params
        if trial.user_attrs.get(INTERRUPTED) == UNPROPOSED and trial.number not in queued and point:
            study.enqueue_trial(point, user_attrs={AGAIN: trial.number})


def study_name(context: SearchContext) -> str:
    """Return the study's name: the name and the identity of the search."""
    return f"{context.search.name}-{context.identity[:16]}"


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that completed, were pruned, or failed; interrupted trials do not count."""
    trials = study.get_trials(deepcopy=False, states=ENDED)
    return [trial for trial in trials if INTERRUPTED not in trial.user_attrs]


def sampler_of(search: Search, study: optuna.Study) -> optuna.samplers.BaseSampler:
    """Return the search's sampler; TPE and random are deterministic at concurrency 1.

    A resumed search uses another seed: with the same seed the first proposals would repeat.

    Raises:
        InputError: The sampler cannot be made.
    """
    trials = study.get_trials(deepcopy=False)
    begun = sum(trial.state is not TrialState.WAITING for trial in trials)
    seed = search.seed % 2**32
    if begun:
        seed = int(np.random.SeedSequence((search.seed, begun)).generate_state(1)[0])
    return make_sampler(search.search.sampler, seed, search.search.startup)


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

    With several objectives only Pareto-optimal trials count. A trial whose attack is a baseline, or
    the attack of a better trial, is no find: it is left out, unless every trial is.
    """
    search, objectives = context.search, context.search.search.objectives
    candidates = ranked(trials) if len(objectives) == 1 else front(trials, objectives)
    attacks = [propose(context, trial.point, trial.number) for trial in candidates]
    found: list[AttackSpec] = []
    for attack in attacks:
        raw = [{"name": "baseline", **rival} for rival in baselines(search, [attack])]
        known = [*map(AttackSpec.model_validate, raw), *found]
        if _made(attack) not in map(_made, known):
            found.append(attack)
    best = (found or attacks[:1])[: search.confirm.best]
    return [
        attack.model_copy(update={"name": f"best-{rank}"})
        for rank, attack in enumerate(best, start=1)
    ]


def _made(attack: AttackSpec) -> dict[str, Any]:
    """Return all that changes the AEs of an attack, whose steps may follow from a budget or not."""
    return {k: v for k, v in attack.identity().items() if k != "budget"}


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
