"""A search that is through, without Ray: made-up trials, and a confirmation on toys."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna

from segtransfer.runtime.runner import carry_out
from segtransfer.searches import SearchResult
from segtransfer.searches.confirmation import carry_over, compare
from segtransfer.searches.context import RungScore, make_context
from segtransfer.searches.optuna_study import (
    REASON,
    SCORE,
    chosen,
    drops_of,
    open_storage,
    open_study,
    read_trials,
)
from segtransfer.searches.spec import confirming_experiment, read_search
from segtransfer.store import Store
from tests.orchestrator.toy_experiments import CLASSES, toy, write_images

SPACE = {
    "name": "toys",
    "fields": {
        "transforms.ds.low": {"float": [0.5, 0.9]},
        "momentum": {"switch": True},
        "momentum.mu": {"float": [0.5, 1.2]},
    },
    "first": ["ds"],
}


def toy_search(folder: Path, **changes: Any) -> dict[str, Any]:
    """Three toys, of which one is held out, the only one of its backbone; four images to search on,
    six others to confirm."""
    for name, seed, count in (("val", 0, 4), ("test", 7, 6)):
        if not (folder / name).exists():
            write_images(folder / name, seed=seed, count=count)
            for kind in ("images", "labels"):
                for path in (folder / name / kind).iterdir():
                    path.rename(path.with_name(f"{name}-{path.name}"))
    data = {name: {"folder": str(folder / name), "classes": CLASSES} for name in ("val", "test")}
    return {
        "name": "toys",
        "data": data["val"],
        "models": [toy("a", seed=1), toy("b", seed=2), toy("c", seed=3) | {"backbone": "another"}],
        "sources": ["a"],
        "targets": ["a", "b"],
        "attack": {"preset": "pgd", "eps": "8/255", "steps": 3},
        "search": {"space": SPACE, "trials": 12},
        "confirm": {"data": data["test"], "held_out": ["c"], "baselines": ["pgd"], "best": 2},
        "schedule_groups": 2,
        "shard_size": 2,
        "runtime": {"store": str(folder / "store"), "executor": "ray", "tracking": False},
        **changes,
    }


def toy_result(folder: Path, *, objectives: tuple[str, ...] = ("transfer",)) -> SearchResult:
    """Ten whole trials, the higher ``low`` the better, one pruned and one that failed."""
    spec = toy_search(folder)
    spec["search"] = {**spec["search"], "objectives": list(objectives)}
    search = read_search(spec)
    store = Store(search.runtime.store)
    context = make_context(search, store)
    study = open_study(context, open_storage(context, store), resume=False)
    for number in range(12):
        trial = study.ask()
        low = trial.suggest_float("transforms.ds.low", 0.5, 0.9)
        if trial.suggest_categorical("momentum", [False, True]):
            trial.suggest_float("momentum.mu", 0.5, 1.2)
        if number == 11:
            trial.set_user_attr(REASON, "2 tasks failed: no memory")
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        values = {"transfer": 40 * low, "cost": 3 * low, "rms": 4.0, "ssim": 0.9}
        wanted = {name: values[name] for name in objectives}
        drops = {"a": {"b": values["transfer"]}}
        trial.set_user_attr(SCORE, asdict(RungScore(2, 4, wanted, drops, 3.0, 4.0)))
        if number == 10 and len(objectives) == 1:
            trial.report(values["transfer"], 1)
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, list(wanted.values()))
    trials = read_trials(study)
    best = chosen(context, trials)
    experiment = confirming_experiment(search, best)
    inline = experiment.model_copy(
        update={"runtime": experiment.runtime.model_copy(update={"executor": "inline"})}
    )
    results = carry_out(inline)
    drops_by_trial = {trial.number: drops for trial, drops in drops_of(trials)}
    return SearchResult(
        context=context,
        study=study,
        trials=trials,
        best=best,
        results=results,
        comparisons=compare(search, results),
        carry_over=carry_over(drops_by_trial, {"b": ["b"], "c": ["c"]}),
    )
