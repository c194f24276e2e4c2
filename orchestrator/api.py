"""The functions of ``segtransfer`` for Python code: run, plan, search, study, compare, open."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segtransfer.comparison import Comparison
    from segtransfer.comparison.references import LoggedRun
    from segtransfer.experiment.plan import Plan
    from segtransfer.experiment.spec import Experiment
    from segtransfer.results import Results
    from segtransfer.runtime.listener import Listener
    from segtransfer.searches import SearchListener, SearchResult
    from segtransfer.searches.spec import Search
    from segtransfer.store import Store
    from segtransfer.studies import BaseExperiment, StudyResult


def run(
    experiment: "str | Path | dict[str, Any] | Experiment",
    overrides: Sequence[str] = (),
    *,
    listener: "Listener | None" = None,
) -> "Results":
    """Run an experiment and return its results; tasks whose results are stored are skipped.

    Args:
        experiment: A YAML file, the name of a recipe, a mapping or a spec.
        overrides: ``field.path=value`` strings, applied in order.
        listener: Receives the plan, events and the status while the experiment runs.

    Returns:
        The results: ``matrix(attack)``, ``clean()`` and ``frame()`` are DataFrames.

    Raises:
        InputError: The spec is wrong.
    """
    from segtransfer.experiment.reading import read_experiment
    from segtransfer.runtime.runner import carry_out

    return carry_out(read_experiment(experiment, overrides), listener)


def plan(
    experiment: "str | Path | dict[str, Any] | Experiment", overrides: Sequence[str] = ()
) -> "Plan":
    """Return the tasks of an experiment and which of them are stored; compute nothing.

    Args:
        experiment: A YAML file, the name of a recipe, a mapping or a spec.
        overrides: ``field.path=value`` strings, applied in order.

    Raises:
        InputError: The spec, the data or a model is wrong.
    """
    from segtransfer.experiment.plan import make_plan
    from segtransfer.experiment.reading import read_experiment
    from segtransfer.store import Store

    spec = read_experiment(experiment, overrides)
    return make_plan(spec, Store(spec.runtime.store))


def search(
    spec: "str | Path | dict[str, Any] | Search",
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    against: str | None = None,
    listener: "SearchListener | None" = None,
) -> "SearchResult":
    """Search the attack settings that transfer best and confirm them on new images and models.

    Args:
        spec: A YAML file, the name of a shipped search, a mapping or a spec.
        overrides: ``field.path=value`` strings, applied in order.
        resume: Continue a search that has trials in the store.
        against: ``random`` also compares with random searches of other seeds at equal cost.
        listener: Receives trials and the confirmation while the search runs.

    Returns:
        The best settings as attack specs, all trials, and the confirming results.

    Raises:
        InputError: The search is wrong.
        RuntimeError: No trial completed.
    """
    from segtransfer.searches import SearchListener, run_search
    from segtransfer.searches.spec import read_search

    listener = listener or SearchListener()
    return run_search(read_search(spec, overrides), listener, resume=resume, against=against)


def study(
    name: str,
    base: "str | Path | dict[str, Any] | BaseExperiment" = "zoo",
    overrides: Sequence[str] = (),
    *,
    listener: "Listener | None" = None,
) -> "StudyResult":
    """Run a study on the models and images of a base experiment and return its findings.

    Args:
        name: A key of ``segtransfer.studies.STUDIES``, for example ``scales``.
        base: A YAML file of an experiment, a base that ships (zoo, camvid), a mapping or a spec.
        overrides: ``field.path=value`` strings, applied in order.
        listener: Receives the plan, events and the status while the experiment runs.

    Raises:
        InputError: The study or its base is wrong.
        IncompleteStudyError: Some tasks have no result; a RuntimeError with the ``results``.
    """
    from segtransfer.runtime.runner import carry_out
    from segtransfer.studies import conclude, find_study, read_base

    chosen, read = find_study(name), read_base(base, overrides)
    return conclude(chosen, read, carry_out(chosen.experiment(read), listener))


def compare(
    a: str | Path,
    b: str | Path,
    *,
    store: str | Path = "segtransfer-store",
    allow: Collection[str] = (),
    metric: str = "miou",
) -> "Comparison":
    """Return the differences of ``b`` minus ``a`` per cell, with intervals and a verdict.

    Args:
        a: A run or an attack: a store, an experiment or an attack in ``store``, an MLflow run id.
        b: A run or an attack, named like ``a``.
        store: Folder or URL that experiments and attacks are looked up in.
        allow: Differences to tolerate: images, targets, eps, numerics.
        metric: miou, aacc, macc, wrong, fooling, drop, ratio, or ``module:attribute``.

    Raises:
        InputError: A name is unknown, or the runs differ in a way that ``allow`` does not name.
    """
    from segtransfer.comparison import compare as compare_references

    return compare_references(
        a, b, store=store, allow=allow, metric=metric, find_logged=_find_logged
    )


def _find_logged(run_id: str) -> "LoggedRun":
    """Return the origin of an MLflow run; MLflow is loaded by the first such look-up."""
    from segtransfer.tracking import read_run

    return read_run(run_id)


def open_store(location: str | Path) -> "Store":
    """Open a store by its folder or URL."""
    from segtransfer.store import Store

    return Store(str(location))


def open_results(location: str | Path) -> "list[Results]":
    """Return the results of every experiment in a store, oldest first.

    Raises:
        InputError: There is no store, it holds no experiment, or an experiment is damaged.
    """
    from segtransfer.results import results_of
    from segtransfer.results.lookup import experiments_of
    from segtransfer.store.maintenance import open_existing

    store = open_existing(str(location))
    return [results_of(store, *experiment) for experiment in experiments_of(store).items()]
