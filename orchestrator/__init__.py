"""segtransfer from Python: run, plan, search, compare, open; results as DataFrames.

No function is named as a module of this package is: importing that module would replace it.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segtransfer.comparison import Comparison
    from segtransfer.experiment import Listener
    from segtransfer.plan import Plan
    from segtransfer.results import Results
    from segtransfer.search import Found, SearchListener
    from segtransfer.search.spec import Search
    from segtransfer.spec import Experiment
    from segtransfer.store import Store

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
    from segtransfer.experiment import carry_out
    from segtransfer.spec import read_experiment

    return carry_out(read_experiment(experiment, overrides), listener)


def make_plan(
    experiment: "str | Path | dict[str, Any] | Experiment", overrides: Sequence[str] = ()
) -> "Plan":
    """The tasks of an experiment and which of them the store already has; computes nothing."""
    from segtransfer.plan import make_plan
    from segtransfer.spec import read_experiment
    from segtransfer.store import Store

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
    from segtransfer.search import SearchListener, find
    from segtransfer.search.spec import read_search

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
    from segtransfer.comparison import compare

    return compare(a, b, store=store, allow=allow, metric=metric)


def open_store(location: str | Path) -> "Store":
    """A store by its folder or URL."""
    from segtransfer.store import Store

    return Store(str(location))


def open_results(location: str | Path) -> "list[Results]":
    """The results of every experiment in a store, oldest first."""
    from segtransfer.results import load_results

    store = open_store(location)
    return [load_results(store, identity) for identity in store.experiments()]
