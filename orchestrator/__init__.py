"""segtransfer from Python: run, plan, search, compare, open; results as DataFrames.

No function is named as a module of this package is: importing that module would replace it.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.comparison import Comparison
    from orchestrator.experiment import Listener
    from orchestrator.plan import Plan
    from orchestrator.results import Results
    from orchestrator.search import Found, SearchListener
    from orchestrator.search.spec import Search
    from orchestrator.spec import Experiment
    from orchestrator.store import Store

__all__ = ["compare", "make_plan", "open_results", "open_store", "run", "run_search"]


def run(
    experiment: "str | Path | dict[str, Any] | Experiment",
    overrides: Sequence[str] = (),
    *,
    listener: "Listener | None" = None,
) -> "Results":
    """Carry out an experiment (YAML file, recipe name, dict or spec); what is stored is not redone.

    Returns its results: ``matrix(attack)``, ``clean()``, ``frame()`` and more as DataFrames.
    Raises tasks.errors.InputError for a wrong spec.
    """
    from orchestrator.experiment import carry_out
    from orchestrator.spec import read_experiment

    return carry_out(read_experiment(experiment, overrides), listener)


def make_plan(
    experiment: "str | Path | dict[str, Any] | Experiment", overrides: Sequence[str] = ()
) -> "Plan":
    """The tasks of an experiment and which of them the store already has; computes nothing."""
    from orchestrator.plan import make_plan
    from orchestrator.spec import read_experiment
    from orchestrator.store import Store

    spec = read_experiment(experiment, overrides)
    return make_plan(spec, Store(spec.runtime.store))


def run_search(
    spec: "str | Path | dict[str, Any] | Search",
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    listener: "SearchListener | None" = None,
) -> "Found":
    """Search the attack settings that transfer best, and confirm them on what is new.

    Returns the best as attack specs, all trials, the study, and the confirming results. Raises
    tasks.errors.InputError for a wrong search, RuntimeError where no trial went all the way.
    """
    from orchestrator.search import SearchListener, find
    from orchestrator.search.spec import read_search

    return find(read_search(spec, overrides), listener or SearchListener(), resume=resume)


def compare(
    a: str | Path,
    b: str | Path,
    *,
    store: str | Path = "segtransfer-store",
    allow: Collection[str] = (),
    metric: str = "miou",
) -> "Comparison":
    """What ``b`` differs in from ``a``: ``matrix()`` and ``frame`` as DataFrames, ``verdict()``.

    Each names a run or an attack, as ``segtransfer compare`` reads them: a store, an experiment or
    an attack in ``store``, an MLflow run's id. Raises tasks.errors.InputError for what is unknown,
    and for runs that differ in images, targets, eps or numerics which ``allow`` does not name.
    """
    from orchestrator.comparison import compare

    return compare(a, b, store=store, allow=allow, metric=metric)


def open_store(location: str | Path) -> "Store":
    """A store by its folder or URL."""
    from orchestrator.store import Store

    return Store(str(location))


def open_results(location: str | Path) -> "list[Results]":
    """The results of every experiment in a store, oldest first."""
    from orchestrator.results import load_results

    store = open_store(location)
    return [load_results(store, identity) for identity in store.experiments()]
