"""The Optuna study of a search: its storage, its first proposals, and its trials."""

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

LEAST_TRIALS = 8  # complete trials; importances of fewer are mostly noise
JOURNAL = "study.journal"
SCORE, REASON, INTERRUPTED, AGAIN = "score", "reason", "interrupted", "again"
UNPROPOSED = "to be proposed again"  # value of INTERRUPTED; AGAIN of a later trial has its number
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Trial:
    """A trial of the study.

    Attributes:
        number: The number, from 0.
        state: ``complete``, ``pruned``, ``failed`` or ``running``.
        point: The values of the space's fields.
        score: The score of the last rung, or None before the first.
        reason: The cause of a failure, else empty.
        seconds: The duration; 0 for a running trial.
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
        InputError: If the storage cannot be opened, or none is named and the store is a bucket.
    """
    where = storage_location(context)
    if context.search.search.storage is None:
        if store.remote:
            raise InputError(
                f"Store {store.location} is a bucket, which cannot hold an Optuna study. Set "
                "search.storage to a file or to the URL of a database (postgresql+psycopg://...)."
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
            f"search.storage {without_credentials(where)} cannot be used: {_cause(error)}. Repair "
            "the storage, or name another; results of earlier trials stay in the store."
        ) from error


@contextmanager
def storage_in_use(context: SearchContext) -> Iterator[None]:
    """Turn an error of the study's storage, also inside an error of Tune, into a ServerError.

    Raises:
        ServerError: If the storage failed within the context.
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
            f"The study in {without_credentials(storage_location(context))} failed during the "
            f"search: {_cause(link)}. Repair the storage and add --resume; earlier results are in "
            "the store."
        ) from error


def _cause(error: BaseException) -> str:
    """Return the first line of the root cause; Optuna's own messages hide the database's."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{line} (install it)" if isinstance(error, ImportError) else line


def dashboard_command(context: SearchContext) -> str:
    """Return the command to show the study in Optuna's dashboard (a separate package).

    The command has the user name of a database but no password, because a spec has none.
    """
    return f"optuna-dashboard {storage_location(context)}"


def open_study(context: SearchContext, storage: BaseStorage, *, resume: bool) -> optuna.Study:
    """Open the search's study, or create it with the space's first points in its queue.

    Points of trials that an earlier search left unfinished are queued again.

    Args:
        context: The context of the search.
        storage: The opened storage.
        resume: Whether to continue a study whose trials have begun.

    Raises:
        InputError: If ``resume`` is False and the study has begun and is incomplete, if the
            storage cannot be used, or if the sampler or the pruner cannot be made.
    """
    settings = context.search.search
    pruner = make_pruner(settings.pruner)
    with _opening(storage_location(context)), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # about metric names
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
    begun = any(trial.state != TrialState.WAITING for trial in trials)
    if begun and not resume and left > 0:
        raise InputError(
            f"The store has {len(ended(study))} of {settings.trials} trials of this search. Add "
            "--resume to continue the search, or change seed for a new search."
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
    """Return the attributes to describe the study in Optuna's dashboard."""
    search = context.search
    return {
        "transfer": f"mean drop in {context.quality} on models other than the source, in points",
        "sources": ", ".join(search.sources),
        "targets": ", ".join(search.targets),
        "images": sum(len(outline.image_ids) for outline in context.outlines),
        "attack": dict(search.attack),
        "space": context.space.name,
        "sampler": search.search.sampler,
        "pruner": search.search.pruner,
    }


def close_trials(study: optuna.Study, storage: BaseStorage) -> None:
    """Fail waiting and running trials as interrupted, because no process will finish them."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING)):
        storage.set_trial_user_attr(trial._trial_id, INTERRUPTED, UNPROPOSED)
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def _propose_again(study: optuna.Study) -> None:
    """Queue the points of interrupted trials, each once."""
    trials = study.get_trials(deepcopy=False)
    queued = {trial.user_attrs.get(AGAIN) for trial in trials}
    for trial in trials:
        point = trial.system_attrs.get("fixed_params", {}) | trial.params
        if trial.user_attrs.get(INTERRUPTED) == UNPROPOSED and trial.number not in queued and point:
            study.enqueue_trial(point, user_attrs={AGAIN: trial.number})


def study_name(context: SearchContext) -> str:
    """Return the study's name: the name and the first 16 characters of the identity."""
    return f"{context.search.name}-{context.identity[:16]}"


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """Return the completed, pruned and failed trials, without interrupted ones."""
    trials = study.get_trials(deepcopy=False, states=ENDED)
    return [trial for trial in trials if INTERRUPTED not in trial.user_attrs]


def sampler_of(search: Search, study: optuna.Study) -> optuna.samplers.BaseSampler:
    """Return the search's sampler; TPE and random are deterministic at concurrency 1.

    A resumed search uses another seed, because with the same seed the first proposals would repeat.

    Args:
        search: The search, with its seed.
        study: The study, whose number of begun trials changes the seed.

    Raises:
        InputError: If the sampler cannot be made.
    """
    trials = study.get_trials(deepcopy=False)
    begun = sum(trial.state is not TrialState.WAITING for trial in trials)
    seed = search.seed % 2**32
    if begun:
        seed = int(np.random.SeedSequence((search.seed, begun)).generate_state(1)[0])
    return make_sampler(search.search.sampler, seed, search.search.startup)


def read_trials(study: optuna.Study) -> list[Trial]:
    """Return every ended or running trial by number, without interrupted ones."""
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
    """Return the trials as a table.

    Returns:
        A row per trial. Columns: ``trial``, ``state``, a column per field of the space, the
        objectives, ``images``, ``forward_equivalents`` (per image), ``rms`` (8-bit levels),
        ``seconds`` and ``reason``; scores are NaN for a trial without a rung.
    """
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
    """Return the complete trials by falling transfer, equal points only once."""
    whole = [t for t in trials if t.state == "complete" and t.score is not None]
    whole.sort(key=lambda t: -_transfer(t))
    first: dict[str, Trial] = {}
    for trial in whole:
        first.setdefault(repr(sorted(trial.point.items())), trial)
    return list(first.values())


def front(trials: list[Trial], objectives: tuple[str, ...]) -> list[Trial]:
    """Return the Pareto-optimal complete trials, by falling transfer.

    Args:
        trials: The trials.
        objectives: The names of the objectives, of ``DIRECTIONS``.
    """
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

    With several objectives only Pareto-optimal trials count. Trials whose attack equals a baseline
    or the attack of a better trial are left out. If no trial remains, the best is kept.

    Args:
        context: The context of the search.
        trials: The trials.

    Returns:
        At most ``confirm.best`` attacks; empty without complete trials.
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
    """Return the fields that change the AEs of an attack; a budget changes only the steps."""
    return {k: v for k, v in attack.identity().items() if k != "budget"}


def importances(study: optuna.Study) -> dict[str, float]:
    """Return each field's importance for the first objective, by PED-ANOVA.

    Returns:
        Shares that sum to 1, by field; empty with fewer than ``LEAST_TRIALS`` complete trials, or
        if Optuna cannot compute them.
    """
    whole = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(whole) < LEAST_TRIALS:
        return {}
    try:
        with warnings.catch_warnings():
            # The evaluator warns that it explains low values (hence the sign of the target), and
            # that a conditional field has few samples.
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
    """Yield each complete trial with its drops, by falling transfer.

    Yields:
        The trial, and the drop in percentage points by source and target.
    """
    for trial in ranked(trials):
        assert trial.score is not None
        yield trial, {s: dict(row) for s, row in trial.score.drops.items()}


def _objectives(trial: Trial) -> Mapping[str, float]:
    assert trial.score is not None
    return trial.score.objectives


def _transfer(trial: Trial) -> float:
    return _objectives(trial)["transfer"]
