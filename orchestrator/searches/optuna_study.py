"""Optuna's study of a search: where it is kept, what is tried first, what became of each trial."""

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
from segtransfer.searches.context import Matrix, Score, SearchContext, propose
from segtransfer.searches.spec import DIRECTIONS, Search
from segtransfer.store import Store
from segtransfer.store.store import SEARCHES
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.urls import without_credentials

optuna.logging.set_verbosity(logging.ERROR)

ENOUGH = 8  # whole trials, for importances to say anything
JOURNAL = "study.journal"
SCORE, REASON, INTERRUPTED = "score", "reason", "interrupted"
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Trial:
    """One trial as the study has it: ``state`` is complete, pruned, failed or running.

    ``score`` is that of its last rung, None where it has none; ``reason`` why it failed.
    """

    number: int
    state: str
    point: Mapping[str, Any]
    score: Score | None
    reason: str
    seconds: float


def open_storage(bench: SearchContext, store: Store) -> BaseStorage:
    """Where the study is kept: ``search.storage``, else a journal in the store.

    Raises InputError where that cannot be opened, or the store is a bucket and nothing is named.
    """
    where = bench.search.search.storage
    if where is None:
        if store.remote:
            raise InputError(
                f"the store {store.location} is a bucket, which holds no Optuna study; give "
                "search.storage a file, or the URL of a database (postgresql+psycopg2://...)"
            )
        path = Path(store.location) / SEARCHES / bench.identity / JOURNAL
        path.parent.mkdir(parents=True, exist_ok=True)
        where = str(path)
    try:
        if "://" in where:
            return RDBStorage(where)
        return JournalStorage(JournalFileBackend(where))
    except Exception as error:  # any of the drivers of a database
        raise InputError(f"search.storage {without_credentials(where)}: {error}") from None


def how_to_look(bench: SearchContext) -> str:
    """The command that shows the study in Optuna's dashboard (a package of its own)."""
    where = bench.search.search.storage or Path(bench.store) / SEARCHES / bench.identity / JOURNAL
    return f"optuna-dashboard {without_credentials(str(where))}"


def open_study(bench: SearchContext, storage: BaseStorage, *, resume: bool) -> optuna.Study:
    """The search's study, under its identity; a new one proposes the space's first points.

    What was running when a search before this one died is proposed again. Raises InputError where
    there are trials already and ``resume`` is not wanted, so that nothing goes on unasked.
    """
    study = optuna.create_study(
        study_name=study_name(bench),
        storage=storage,
        directions=[DIRECTIONS[name] for name in bench.search.search.objectives],
        load_if_exists=True,
    )
    trials = study.get_trials(deepcopy=False)
    left = bench.search.search.trials - len(ended(study))
    if trials and not resume and left > 0:
        raise InputError(
            f"this search has {len(ended(study))} ended trials of {bench.search.search.trials} in "
            "the store: --resume goes on with it, another seed begins a new one"
        )
    if not trials:
        for point in search_spaces.first_points(bench.space, bench.search.attack):
            study.enqueue_trial(point)
    for trial in trials:
        if trial.state is TrialState.RUNNING:
            optuna.Trial(study, trial._trial_id).set_user_attr(INTERRUPTED, True)
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)
    return study


def study_name(bench: SearchContext) -> str:
    """The name and the identity of a search: another search is another study."""
    return f"{bench.search.name}-{bench.identity[:16]}"


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count: through, pruned, or failed for a reason of their own."""
    trials = study.get_trials(deepcopy=False, states=ENDED)
    return [trial for trial in trials if INTERRUPTED not in trial.user_attrs]


def sampler_of(search: Search, study: optuna.Study) -> optuna.samplers.BaseSampler:
    """TPE, as many random trials first as the search says; results repeat at concurrency 1.

    A search that goes on draws by another seed than the one before it: by the same it would
    propose the same again.
    """
    trials = study.get_trials(deepcopy=False)
    begun = sum(trial.state is not TrialState.WAITING for trial in trials)
    seed = search.seed % 2**32
    if begun:
        seed = int(np.random.SeedSequence((search.seed, begun)).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=search.search.startup)


def read_trials(study: optuna.Study) -> list[Trial]:
    """Every trial that counts or runs, in order."""
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


def _score(kept: Mapping[str, Any] | None) -> Score | None:
    return None if kept is None else Score(**kept)


def trials_frame(trials: list[Trial]) -> pd.DataFrame:
    """One row a trial: number, state, the point's fields, objectives, images, cost, RMS."""
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
    """Trials that went all the way, the best transfer first; equal points stand once."""
    whole = [t for t in trials if t.state == "complete" and t.score is not None]
    whole.sort(key=lambda t: -_transfer(t))
    first: dict[str, Trial] = {}
    for trial in whole:
        first.setdefault(repr(sorted(trial.point.items())), trial)
    return list(first.values())


def front(trials: list[Trial], objectives: tuple[str, ...]) -> list[Trial]:
    """The trials that no other beats in one objective without losing in another."""
    whole = ranked(trials)
    signs = np.array([1.0 if DIRECTIONS[name] == "maximize" else -1.0 for name in objectives])
    values = [signs * [_objectives(t)[name] for name in objectives] for t in whole]
    return [
        trial
        for trial, mine in zip(whole, values, strict=True)
        if not any((other >= mine).all() and (other > mine).any() for other in values)
    ]


def chosen(bench: SearchContext, trials: list[Trial]) -> list[AttackSpec]:
    """The best trials as attacks, named best-1, best-2, ...: by transfer, of the front where there
    are several objectives."""
    objectives = bench.search.search.objectives
    found = ranked(trials) if len(objectives) == 1 else front(trials, objectives)
    best = found[: bench.search.confirm.best]
    return [
        propose(bench, trial.point, trial.number).model_copy(update={"name": f"best-{rank}"})
        for rank, trial in enumerate(best, start=1)
    ]


def importances(study: optuna.Study) -> dict[str, float]:
    """How much of the first objective's spread each field explains (PED-ANOVA); empty where too
    few trials went all the way."""
    whole = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(whole) < ENOUGH:
        return {}
    try:
        with warnings.catch_warnings():
            # It warns that it explains what makes its target low (hence the sign), and where a
            # field that is rarely asked for was seen too seldom.
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(
                study,
                evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
                target=lambda trial: -trial.values[0],
            )
    except (ValueError, RuntimeError):
        return {}
    return {name: float(value) for name, value in found.items()}


def drops_of(trials: list[Trial]) -> Iterator[tuple[Trial, Matrix]]:
    """The whole trials and what every pair lost under each."""
    for trial in ranked(trials):
        assert trial.score is not None
        yield trial, {s: dict(row) for s, row in trial.score.drops.items()}


def _objectives(trial: Trial) -> Mapping[str, float]:
    assert trial.score is not None
    return trial.score.objectives


def _transfer(trial: Trial) -> float:
    return _objectives(trial)["transfer"]
