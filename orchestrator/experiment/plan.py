"""The plan of an experiment: its tasks with keys, dependencies and costs, and the stored tasks."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from segtransfer.experiment.keys import attack_key, evaluate_key, key_of, model_key
from segtransfer.experiment.plan_checks import (
    check_attack_files,
    check_class_indices,
    check_classes,
    check_kinds,
)
from segtransfer.experiment.spec import Experiment
from segtransfer.experiment.task import CLEAN, FORWARD_AND_BACKWARD, Cell, Task
from segtransfer.shown import Shown
from segtransfer.tasks.attacks.member_cost import step_cost_on, steps_on
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.base import Dataset
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import Outline, Shard, make_shards
from segtransfer.tasks.image_metrics import OF_IMAGES, OF_PIXELS
from segtransfer.tasks.models import description
from segtransfer.tasks.models.info import ModelInfo
from segtransfer.tasks.models.label_map import join
from segtransfer.tasks.models.spec import ModelSpec

if TYPE_CHECKING:
    from segtransfer.store import Store


@dataclass(frozen=True)
class Plan(Shown):
    """The tasks of an experiment, their models and shards, and the keys of stored tasks.

    Attributes:
        experiment: The spec.
        dataset: The data set, without pixels.
        shards: The shards by id, without pixels.
        models: The specs of the models by ``model_key``.
        infos: Fingerprint, backbone and classes of the models by name.
        tasks: The tasks by key, each attack before the evaluations of its AEs.
        cells: The evaluation of every attack, source, target and shard.
        stored: The keys of the tasks with a stored result.
    """

    experiment: Experiment
    dataset: Dataset
    shards: Mapping[str, Outline]
    models: Mapping[str, ModelSpec]
    infos: Mapping[str, ModelInfo]
    tasks: Mapping[str, Task]
    cells: tuple[Cell, ...]
    stored: frozenset[str]

    def __repr__(self) -> str:
        images = sum(len(shard.image_ids) for shard in self.shards.values())
        return (
            f"<Plan {self.experiment.name}-{self.identity[:8]}: {len(self.tasks)} tasks, "
            f"{len(self.stored)} stored; {len(self.models)} models, {images} images of "
            f"{self.dataset.name}>"
        )

    @property
    def identity(self) -> str:
        """Return the identity of the experiment: the hash of its cells, 64 hexadecimal digits."""
        return identity_of(self.cells)

    @property
    def largest_size(self) -> tuple[int, int]:
        """Return height and width in pixels of the images with the most pixels."""
        return max((shard.size for shard in self.shards.values()), key=math.prod)

    @property
    def headline(self) -> str:
        """Return the headline metric: ``miou``, or ``aacc`` if the targets are classifiers."""
        targets = self.experiment.target_models
        return OF_IMAGES if self.infos[targets[0].name].classifier else OF_PIXELS

    @property
    def missing(self) -> list[Task]:
        """Return the tasks without a stored result, in the order of ``tasks``."""
        return [task for key, task in self.tasks.items() if key not in self.stored]


def make_plan(
    experiment: Experiment,
    store: "Store",
    keep: Callable[[Shard], None] = lambda shard: None,
    tell: Callable[[str, str], None] = lambda stage, item: None,
) -> Plan:
    """Return the plan of an experiment: read the data, identify the models, list the tasks.

    No device is used. Models with a missing task are checked, which may build them on the CPU.

    Args:
        experiment: The spec.
        store: The store of earlier results, which is only read.
        keep: Called with each shard after the shard is read. The plan keeps no pixels.
        tell: Called with each stage of planning, and with the current item or an empty text.

    Raises:
        InputError: The data or a model is wrong, or an attack does not fit the data.
    """
    tell("Reading the data", "")
    dataset = open_dataset(experiment.data)
    joined = [join(model, dataset.classes) for model in experiment.models]
    infos = _described(joined, dataset, tell)
    check_kinds(experiment, infos, dataset)
    for attack in experiment.attacks:
        check_class_indices(attack, dataset)
    tell("Reading images", dataset.name)
    outlines = _read_shards(dataset, experiment, keep)
    for attack in experiment.attacks:
        check_attack_files(attack, outlines, len(dataset.classes))
    tasks, cells = make_tasks(experiment, infos, outlines, len(dataset.classes))
    tell("Looking up stored results", experiment.runtime.store)
    stored, numerics = store.keys(), experiment.numerics.identity()
    plan = Plan(
        experiment=experiment,
        dataset=dataset,
        shards={outline.shard_id: outline for outline in outlines},
        models={model_key(infos[m.name].fingerprint, numerics): m for m in joined},
        infos=infos,
        tasks=tasks,
        cells=tuple(cells),
        stored=frozenset(key for key in tasks if key in stored),
    )
    needed = {task.model for task in plan.missing}
    for model in (m for name, m in plan.models.items() if name in needed):
        tell("Checking models", model.name)
        description.check(model)
    return plan


def _described(
    specs: Sequence[ModelSpec], dataset: Dataset, tell: Callable[[str, str], None]
) -> dict[str, ModelInfo]:
    """Return the models by name, after a check of their classes."""
    infos = {}
    for model in specs:
        tell("Describing models", model.name)
        infos[model.name] = description.describe(model)
        check_classes(infos[model.name], dataset)
    return infos


def _read_shards(
    dataset: Dataset, experiment: Experiment, keep: Callable[[Shard], None]
) -> list[Outline]:
    """Read the shards of an experiment once, hand each to ``keep``, and return their outlines."""
    outlines = []
    for shard in make_shards(
        dataset,
        experiment.data,
        groups=experiment.schedule_groups,
        shard_size=experiment.shard_size,
    ):
        outlines.append(shard.outline)
        keep(shard)
    return outlines


def identity_of(cells: Sequence[Cell]) -> str:
    """Return the identity of the experiment with these cells.

    Args:
        cells: All cells, in the order of the plan.

    Returns:
        64 hexadecimal digits: the hash of each cell's attack, source, target and key.
    """
    return key_of({"cells": [[c.attack, c.source, c.target, c.key] for c in cells]})


def make_tasks(
    experiment: Experiment,
    infos: Mapping[str, ModelInfo],
    shards: Sequence[Outline],
    num_classes: int,
) -> tuple[dict[str, Task], list[Cell]]:
    """Return the tasks of an experiment over some shards, and their cells.

    Args:
        experiment: The spec, whose data is not read.
        infos: The models by name.
        shards: The shards, without pixels.
        num_classes: The number of classes of the data.

    Returns:
        The tasks by key, each attack before the evaluations of its AEs, and a cell per attack,
        source, target and shard. Cells with equal tasks share the task.
    """
    tasks: dict[str, Task] = {}
    cells: list[Cell] = []
    numerics = experiment.numerics.identity()
    targets = [infos[model.name] for model in experiment.target_models]
    sources = [infos[model.name] for model in experiment.source_models]

    def evaluate(
        shard: Outline, attack: str, source: ModelInfo | None, aes: Task | None, variant: int
    ) -> None:
        name = source.name if source else None
        for target in targets:
            task = _evaluation_task(target, shard, num_classes, numerics, aes, variant)
            tasks[task.key] = task
            cells.append(Cell(attack, name, target.name, shard.shard_id, task.key, task.depends_on))

    for shard in shards:
        evaluate(shard, CLEAN, None, None, 0)
    for attack in experiment.attacks:
        for source in sources if attack.steps else [None]:
            for shard in shards:
                task = _attack_task(experiment, attack, source, shard)
                tasks[task.key] = task
                for number, variant in enumerate(attack.variants):
                    evaluate(shard, variant.name, source, task, number)
    return tasks, cells


def _attack_task(
    experiment: Experiment, attack: AttackSpec, source: ModelInfo | None, shard: Outline
) -> Task:
    """Return the task that makes the AEs of a shard on a source, or without a source."""
    numerics = experiment.numerics.identity()
    fingerprint = source.fingerprint if source else None
    return Task(
        attack_key(attack, fingerprint, shard.shard_id, seed=experiment.seed, numerics=numerics),
        model_key(fingerprint, numerics) if fingerprint else None,
        shard.shard_id,
        cost=attack_cost(attack, len(source.networks) if source else 1) * len(shard.image_ids),
        nbytes=shard.nbytes * len(attack.variants),
        attack=attack,
        seed=experiment.seed,
    )


def _evaluation_task(
    target: ModelInfo,
    shard: Outline,
    num_classes: int,
    numerics: JsonValue,
    attack: Task | None,
    variant: int,
) -> Task:
    """Return the task that scores a shard's clean images, or a variant of an attack's AEs."""
    depends_on = attack.key if attack else None
    key = evaluate_key(
        target.fingerprint,
        shard.shard_id,
        depends_on,
        variant=variant,
        num_classes=num_classes,
        numerics=numerics,
    )
    return Task(
        key,
        model_key(target.fingerprint, numerics),
        shard.shard_id,
        cost=float(len(shard.image_ids)),
        nbytes=0,
        depends_on=depends_on,
        num_classes=num_classes,
        variant=variant,
    )


def attack_cost(attack: AttackSpec, members: int = 1) -> float:
    """Return the cost of an attack per image, for scheduling.

    The cost is restarts x steps x copies per step x E[r^2] of the scales x 2.5 for the backward.

    Args:
        attack: The attack.
        members: The number of members of the source, 1 for no ensemble.

    Returns:
        Forwards of one image at its native size; 0 for an attack without steps.
    """
    steps = attack.restarts * steps_on(attack, members)
    return steps * step_cost_on(attack, members) * FORWARD_AND_BACKWARD
