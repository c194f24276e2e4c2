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
    """Run an experiment and return its results; tasks with a stored result are not computed.

    Missing results are written to the store, ``runtime.store``, as they arrive. A failed task
    raises no error: its cells are NaN and ``results.failures`` has its message. No report is
    written and nothing is logged to MLflow; the command ``segtransfer run`` does both.

    Args:
        experiment: The path of a YAML file, the name of a recipe such as ``"quickstart"``, a
            mapping of the fields, or a spec.
        overrides: Fields to set before validation, each ``"field.path=value"`` with a value in
            YAML, for example ``"attacks.*.eps=4/255"``. Applied in order.
        listener: Receives the plan, events and, once per second, the status. Default: none, and
            in a notebook a progress line.

    Returns:
        The results of all tasks, stored or computed: ``matrix(attack)`` is a DataFrame of mIoU in
        percent, sources x targets; ``clean()`` the scores on clean images; ``frame()`` a row per
        cell with every metric.

    Raises:
        InputError: A field of the spec, the data, a model or the fleet is wrong. Raised before a
            task starts.
        StoreError: The store cannot be read or written.

    Examples:
        >>> results = run("quickstart", ["seed=1", "runtime.executor=inline"])
        >>> drops = results.matrix("ds-mi", "drop")
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

    The data are read, the models are identified by their files, and models with a missing task are
    checked on the CPU. Nothing is written to the store.

    Args:
        experiment: The path of a YAML file, the name of a recipe, a mapping of the fields, or a
            spec.
        overrides: Fields to set before validation, each ``"field.path=value"``. Applied in order.

    Returns:
        The plan: ``tasks`` by key, ``stored`` keys, ``missing`` tasks, and the ``identity`` of the
        experiment.

    Raises:
        InputError: A field of the spec, the data or a model is wrong.
        StoreError: The store cannot be read.

    Examples:
        >>> left = len(plan("quickstart", ["shard_size=4"]).missing)
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

    A search needs Ray. Trials and their results are written to the store.

    Args:
        spec: The path of a YAML file, the name of a shipped search such as ``"quickstart"``, a
            mapping of the fields, or a spec.
        overrides: Fields to set before validation, each ``"field.path=value"``, for example
            ``"search.trials=20"``. Applied in order.
        resume: Continue a search with trials in the store; without ``resume`` such a search is
            refused.
        against: ``"random"`` also runs random searches of other seeds, with as many trials and at
            no more cost, and compares with them. Default: no such comparison.
        listener: Receives trials and the confirmation. Default: none, and in a notebook a progress
            line.

    Returns:
        The ``best`` settings as attack specs, all ``trials``, the confirming ``results``, and
        their ``comparisons`` with the baselines. After ``runtime.max_hours`` or SIGTERM the
        confirmation can be incomplete.

    Raises:
        InputError: The spec, the data or a model is wrong, or ``runtime.executor`` is not Ray.
        RuntimeError: No trial completed; the message has the reasons.

    Examples:
        >>> found = search("quickstart", ["search.trials=8"])
        >>> strongest = found.best[0]
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
        name: A key of ``segtransfer.studies.STUDIES``, for example ``"scales"``.
        base: The path of a YAML file of an experiment, the name of a shipped base (``"zoo"`` or
            ``"camvid"``) or recipe, a mapping of the fields, or a spec. Its first attack with
            steps gives eps, steps and cost; the study replaces its attacks.
        overrides: Fields of the base to set before validation, each ``"field.path=value"``.
            Applied in order.
        listener: Receives the plan, events and, once per second, the status. Default: none, and
            in a notebook a progress line.

    Returns:
        The ``numbers`` of the study, the ``paragraph`` written from them, and the ``results``.

    Raises:
        InputError: The name is unknown, the base is wrong, or the base lacks models that the study
            needs.
        IncompleteStudyError: Tasks have no result. The error is a RuntimeError, and its
            ``results`` name the tasks and their failures.

    Examples:
        >>> findings = study("scales", "zoo", ["runtime.executor=inline"]).paragraph
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
    metric: str | None = None,
) -> "Comparison":
    """Return the differences of ``b`` minus ``a`` per cell, with intervals and a verdict.

    A reference to a run or to an attack is one of: the folder or URL of a store (its newest
    experiment, or ``STORE#EXPERIMENT``), the name or identity of an experiment in ``store``, an
    MLflow run id, or an attack of the newest experiment in ``store``. ``RUN:ATTACK`` names one
    attack of a run. Two runs are compared in every attack of a name that both have.

    Args:
        a: The reference of the baseline A.
        b: The reference of B.
        store: The folder or URL in which experiments and attacks are looked up.
        allow: Differences between the runs to tolerate: ``"images"``, ``"targets"``, ``"eps"``,
            ``"numerics"``.
        metric: ``"miou"``, ``"aacc"``, ``"macc"``, ``"wrong"``, ``"fooling"``, ``"drop"`` or
            ``"ratio"``, or a metric as ``"module:attribute"``. Default: mIoU, or the accuracy
            ``"aacc"`` if the targets are classifiers.

    Returns:
        The comparison: ``frame`` has a row per cell and mean, with differences in points.

    Raises:
        InputError: A reference, metric or allowed difference is unknown, a run has missing
            results, or the runs differ in a way that ``allow`` does not name.
        TrackingError: An MLflow run cannot be read.

    Examples:
        >>> change = compare("pgd", "ds-mi", metric="drop").frame
    """
    from segtransfer.comparison import compare as compare_references

    return compare_references(
        a, b, store=store, allow=allow, metric=metric, find_logged=_find_logged
    )


def _find_logged(run_id: str) -> "LoggedRun":
    """Return the origin of an MLflow run; MLflow is loaded by the first such look-up."""
    from segtransfer.tracking.runs import read_run

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
        model: A callable from float RGB images in [0, 1], N x 3 x H x W, to logits N x K x H x W
            with K <= 255, or a model of ``load_model``.
        images: RGB, N x 3 x H x W: uint8, or float multiples of 1/255 in [0, 1].
        labels: Class indices below K, N x h x w; 255 is ignored.
        attack: The name of a preset such as ``"ds-mi"``, a mapping of fields, or a spec.
        image_ids: N different ids, from which random numbers are drawn. Default:
            ``"image-0"``, ``"image-1"``, ...
        seed: The seed of scales and noise, 0 or more.
        micro_batch: The largest number of images per forward, 1 to 1024.
        fields: Fields of the attack to replace, for example ``eps="8/255"`` and ``steps=20``.

    Returns:
        The AEs, uint8 N x 3 x H x W, an array or a tensor as ``images`` is.

    Raises:
        InputError: The images, labels, ids, model or attack are wrong, or the attack keeps several
            AEs per image.

    Examples:
        >>> images, labels = np.zeros((1, 3, 64, 64), "uint8"), np.zeros((1, 64, 64), int)
        >>> aes = attack(load_model("fcn-r18"), images, labels, "pgd", eps="8/255", steps=2)
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
        model: A callable from float RGB images in [0, 1], N x 3 x H x W, to logits N x K x H x W
            with K <= 255, or a model of ``load_model``.
        images: RGB, N x 3 x H x W: uint8, or float multiples of 1/255 in [0, 1].
        labels: Class indices below K, N x h x w; 255 is ignored.
        image_ids: N different ids, for messages. Default: ``"image-0"``, ``"image-1"``, ...
        micro_batch: The largest number of images per forward, 1 to 1024.

    Returns:
        The scores: ``miou`` and ``class_iou`` in percent, ``confusion`` (K x K) and
        ``confusions`` (N x K x K) in pixels with labels as rows, ``predictions`` (N x h x w).

    Raises:
        InputError: The images, labels, ids or model are wrong.

    Examples:
        >>> images, labels = np.zeros((1, 3, 64, 64), "uint8"), np.zeros((1, 64, 64), int)
        >>> percent = evaluate(load_model("fcn-r18"), images, labels).miou
    """
    from segtransfer.runtime.in_memory import evaluate_images

    return evaluate_images(model, images, labels, image_ids=image_ids, micro_batch=micro_batch)


def load_model(model: str | Mapping[str, Any], device: str = "cpu") -> "Segmenter":
    """Load a model for ``attack`` and ``evaluate``.

    Args:
        model: The name of a model that ships, for example ``"fcn-r18"``, or the fields of a model
            as in a spec, for example
            ``{"name": "psp", "mmseg": {"config": "psp.py", "checkpoint": "psp.pth"}}``. Relative
            paths start at the working folder.
        device: A torch device, for example ``"cuda:0"``.

    Returns:
        The model in evaluation mode: images in [0, 1], N x 3 x H x W, to logits N x K x H x W.

    Raises:
        InputError: A field is wrong, a file is missing, or the weights do not fit the network.

    Examples:
        >>> classes = load_model("fcn-r18").num_classes
    """
    from segtransfer.runtime.in_memory import load_segmenter

    return load_segmenter(model, device)


def open_store(location: str | Path) -> "Store":
    """Open the store in a folder or bucket; nothing is read, and no folder is created.

    Args:
        location: A folder, or the URL of a folder or bucket, for example ``"s3://bucket/folder"``.

    Returns:
        The store, which may be empty.

    Raises:
        InputError: The URL is of another kind, or holds credentials.

    Examples:
        >>> table = open_store("segtransfer-store").experiments()
    """
    from segtransfer.store import Store

    return Store(str(location))


def open_results(location: str | Path) -> "list[Results]":
    """Return the results of every experiment in a store, oldest first.

    Args:
        location: The folder or URL of the store.

    Returns:
        The results per experiment. Cells without a stored result are NaN.

    Raises:
        InputError: The location holds no store, the store holds no experiment, or the description
            of an experiment is damaged or of another version.

    Examples:
        >>> by_name = {results.name: results for results in open_results("segtransfer-store")}
    """
    from segtransfer.results import results_of
    from segtransfer.results.lookup import experiments_of
    from segtransfer.store.maintenance import open_existing

    store = open_existing(str(location))
    return [results_of(store, *experiment) for experiment in experiments_of(store).items()]
