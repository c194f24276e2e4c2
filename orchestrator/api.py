"""The functions of ``segtransfer`` for Python code: run, plan, search, compare, attack, open."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segtransfer.comparison import Comparison
    from segtransfer.comparison.references import LoggedRun
    from segtransfer.experiment.plan import Plan
    from segtransfer.experiment.spec import Experiment
    from segtransfer.results import Results
    from segtransfer.runtime.in_memory import Array, GivenModel, Scores
    from segtransfer.runtime.listener import Listener
    from segtransfer.searches import SearchListener, SearchResult
    from segtransfer.searches.spec import Search
    from segtransfer.store import Store
    from segtransfer.studies import BaseExperiment, StudyResult
    from segtransfer.tasks.attacks.spec import AttackSpec
    from segtransfer.tasks.models.base import Segmenter


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
        listener: Receives the plan, events and the status while the experiment runs. By default a
            notebook shows a line of progress.

    Returns:
        The results: ``matrix(attack)``, ``clean()`` and ``frame()`` are DataFrames.

    Raises:
        InputError: The spec is wrong.
    """
    from segtransfer.experiment.reading import read_experiment
    from segtransfer.reporting.notebook import experiment_progress
    from segtransfer.runtime.runner import carry_out

    with experiment_progress(listener) as follower:
        return carry_out(read_experiment(experiment, overrides), follower)


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
        against: ``random`` also compares with random searches of other seeds at no more cost.
        listener: Receives trials and the confirmation while the search runs. By default a notebook
            shows a line of progress.

    Returns:
        The best settings as attack specs, all trials, and the confirming results.

    Raises:
        InputError: The search is wrong.
        RuntimeError: No trial completed.
    """
    from segtransfer.reporting.notebook import search_progress
    from segtransfer.searches import run_search
    from segtransfer.searches.spec import read_search

    with search_progress(listener) as follower:
        read = read_search(spec, overrides)
        return run_search(read, follower, resume=resume, against=against)


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
        listener: Receives the plan, events and the status while the experiment runs. By default a
            notebook shows a line of progress.

    Raises:
        InputError: The study or its base is wrong.
        IncompleteStudyError: Some tasks have no result; a RuntimeError with the ``results``.
    """
    from segtransfer.reporting.notebook import experiment_progress
    from segtransfer.runtime.runner import carry_out
    from segtransfer.studies import conclude, find_study, read_base

    chosen, read = find_study(name), read_base(base, overrides)
    with experiment_progress(listener) as follower:
        return conclude(chosen, read, carry_out(chosen.experiment(read), follower))


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


def attack(
    model: "GivenModel",
    images: "Array",
    labels: "Array",
    attack: "str | Mapping[str, Any] | AttackSpec",
    *,
    image_ids: Sequence[str] | None = None,
    seed: int = 0,
    micro_batch: int = 4,
    **fields: Any,
) -> "Array":
    """Make adversarial examples of images in memory; nothing is stored.

    An experiment with the same seed, image ids and micro-batch makes the same bits on a CPU. The
    model computes in evaluation mode, in fp32, on one torch thread; all are restored.

    Args:
        model: A callable from float RGB images in [0, 1], N x 3 x H x W, to logits N x K x H x W,
            or a model of ``load_model``.
        images: uint8 N x 3 x H x W, RGB; or float in [0, 1] of 8-bit levels over 255.
        labels: Class indices, N x h x w; 255 is ignored.
        attack: The name of a preset, or an attack as in a spec.
        image_ids: An id per image, from which random numbers are drawn; by default their numbers.
        seed: The seed of scales and noise.
        micro_batch: Largest number of images per forward.
        fields: Fields of the attack, for example ``eps="8/255"`` and ``steps=20``.

    Returns:
        The AEs, uint8 N x 3 x H x W, a tensor or an array as the images are.

    Raises:
        InputError: The images, the labels, the model or the attack are wrong.
    """
    from segtransfer.runtime.in_memory import attack_images, read_attack

    return attack_images(
        model,
        images,
        labels,
        read_attack(attack, fields),
        image_ids=image_ids,
        seed=seed,
        micro_batch=micro_batch,
    )


def evaluate(
    model: "GivenModel",
    images: "Array",
    labels: "Array",
    *,
    image_ids: Sequence[str] | None = None,
    micro_batch: int = 4,
) -> "Scores":
    """Score images in memory against labels; nothing is stored.

    Args:
        model: As in ``attack``.
        images: As in ``attack``.
        labels: As in ``attack``.
        image_ids: An id per image, for messages; by default their numbers.
        micro_batch: Largest number of images per forward.

    Returns:
        The scores: ``miou``, ``class_iou``, ``confusion``, ``confusions`` and ``predictions``.

    Raises:
        InputError: The images, the labels or the model are wrong.
    """
    from segtransfer.runtime.in_memory import evaluate_images

    return evaluate_images(model, images, labels, image_ids=image_ids, micro_batch=micro_batch)


def load_model(model: str | Mapping[str, Any], device: str = "cpu") -> "Segmenter":
    """Load a model for ``attack`` and ``evaluate``.

    Args:
        model: The name of a model that ships, or a model as in a spec, for example
            ``{"name": "psp", "mmseg": {"config": "psp.py", "checkpoint": "psp.pth"}}``.
        device: A torch device, for example ``cuda:0``.

    Raises:
        InputError: The model is wrong, or files are missing or do not fit.
    """
    from segtransfer.runtime.in_memory import load_segmenter

    return load_segmenter(model, device)


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
