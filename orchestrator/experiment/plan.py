"""Spec -> tasks with identities, dependencies and costs, and what the store already has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from segtransfer.errors import InputError
from segtransfer.experiment.keys import attack_key, evaluate_key, key_of, model_key
from segtransfer.experiment.spec import Experiment
from segtransfer.experiment.task import CLEAN, FORWARD_AND_BACKWARD, Cell, Task
from segtransfer.tasks.attacks.context import aim, allowed
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.base import Dataset
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import Outline, Shard, make_shards
from segtransfer.tasks.models import adapters as models
from segtransfer.tasks.models.base import ModelInfo
from segtransfer.tasks.models.label_map import join
from segtransfer.tasks.models.spec import ModelSpec

if TYPE_CHECKING:
    from segtransfer.store import Store


@dataclass(frozen=True)
class Plan:
    """All tasks of an experiment, the models and shards they need, and what is already stored."""

    experiment: Experiment
    dataset: Dataset
    shards: Mapping[str, Shard]
    models: Mapping[str, ModelSpec]
    infos: Mapping[str, ModelInfo]
    tasks: Mapping[str, Task]
    cells: tuple[Cell, ...]
    stored: frozenset[str]

    @property
    def identity(self) -> str:
        """The experiment's identity: every cell of its results, under its names."""
        return identity_of(self.cells)

    @property
    def missing(self) -> list[Task]:
        return [task for key, task in self.tasks.items() if key not in self.stored]


def make_plan(experiment: Experiment, store: "Store") -> Plan:
    """Read the data, identify the models, cut the work into tasks, ask the store what is done.

    Nothing is loaded onto a device. Raises InputError for anything wrong with data or models.
    """
    dataset = open_dataset(experiment.data)
    joined = [join(model, dataset.classes) for model in experiment.models]
    infos = {model.name: models.describe(model) for model in joined}
    for info in infos.values():
        _check_classes(info, dataset)
    for attack in experiment.attacks:
        _check_indices(attack, dataset)
    shards = make_shards(
        dataset,
        experiment.data,
        groups=experiment.schedule_groups,
        shard_size=experiment.shard_size,
    )
    for attack in experiment.attacks:
        _check_files(attack, shards, len(dataset.classes))
    outlines = [shard.outline for shard in shards]
    tasks, cells = cut(experiment, infos, outlines, len(dataset.classes))
    stored = store.keys()
    plan = Plan(
        experiment=experiment,
        dataset=dataset,
        shards={shard.shard_id: shard for shard in shards},
        models={
            model_key(infos[model.name].fingerprint, experiment.numerics.identity()): model
            for model in joined
        },
        infos=infos,
        tasks=tasks,
        cells=tuple(cells),
        stored=frozenset(key for key in tasks if key in stored),
    )
    needed = {task.model for task in plan.missing}
    for name, model in plan.models.items():
        if name in needed:
            models.check(model)
    return plan


def identity_of(cells: Sequence[Cell]) -> str:
    """The identity of an experiment that has these cells."""
    return key_of({"cells": [[c.attack, c.source, c.target, c.key] for c in cells]})


def cut(
    experiment: Experiment,
    infos: Mapping[str, ModelInfo],
    shards: Sequence[Outline],
    num_classes: int,
) -> tuple[dict[str, Task], list[Cell]]:
    """The tasks of an experiment over these shards by key, and where each evaluation stands."""
    tasks: dict[str, Task] = {}
    cells: list[Cell] = []
    numerics = experiment.numerics.identity()
    targets = [infos[model.name] for model in experiment.target_models]

    def evaluate(
        name: str,
        source: str | None,
        target: ModelInfo,
        shard: Outline,
        attack: str | None,
        made: int,
    ) -> None:
        key = evaluate_key(
            target.fingerprint,
            shard.shard_id,
            attack,
            made=made,
            num_classes=num_classes,
            numerics=numerics,
        )
        cost = float(len(shard.image_ids))
        tasks[key] = Task(
            key,
            model_key(target.fingerprint, numerics),
            shard.shard_id,
            cost,
            0,
            attack,
            num_classes=num_classes,
            made=made,
        )
        cells.append(Cell(name, source, target.name, shard.shard_id, key, attack))

    for shard in shards:
        for target in targets:
            evaluate(CLEAN, None, target, shard, None, 0)
    for attack in experiment.attacks:
        sources = [infos[m.name] for m in experiment.source_models] if attack.steps else [None]
        for source in sources:
            for shard in shards:
                fingerprint = source.fingerprint if source else None
                key = attack_key(
                    attack,
                    fingerprint,
                    shard.shard_id,
                    seed=experiment.seed,
                    numerics=numerics,
                )
                cost = attack_cost(attack) * len(shard.image_ids)
                tasks[key] = Task(
                    key,
                    model_key(fingerprint, numerics) if fingerprint else None,
                    shard.shard_id,
                    cost,
                    shard.nbytes * len(attack.variants),
                    attack=attack,
                    seed=experiment.seed,
                )
                name = source.name if source else None
                for number, made in enumerate(attack.variants):
                    for target in targets:
                        evaluate(made.name, name, target, shard, key, number)
    return tasks, cells


def attack_cost(attack: AttackSpec) -> float:
    """Cost of one image's attack in native image forwards, from steps, copies and E[r^2]."""
    return attack.restarts * attack.steps_taken * attack.step_cost * FORWARD_AND_BACKWARD


def _check_indices(attack: AttackSpec, dataset: Dataset) -> None:
    """Refuse a target or a region of classes that the data has not: it would do nothing."""
    named = {"region.classes": attack.region.classes or () if attack.region else ()}
    if attack.target is not None:
        every = attack.target.every
        named["target.every"] = () if every is None else (every,)
        mapping = attack.target.classes or {}
        named["target.classes"] = (*mapping, *mapping.values())
    for field, indices in named.items():
        for index in indices:
            if index >= len(dataset.classes):
                raise InputError(
                    f"attack '{attack.name}': {field} names class {index}; {dataset.name} has "
                    f"classes 0 to {len(dataset.classes) - 1}"
                )


def _check_files(attack: AttackSpec, shards: Sequence[Shard], num_classes: int) -> None:
    """Refuse a region's mask or a target's label map that does not fit the images."""
    mask = attack.region and attack.region.mask
    label_map = attack.target and attack.target.label_map
    for size in {shard.labels.shape[1:] for shard in shards} if mask or label_map else ():
        labels = torch.zeros((1, *size), dtype=torch.int64)
        try:
            allowed(attack.region, labels)
            aim(labels, attack.target, num_classes)
        except InputError as error:
            raise InputError(f"attack '{attack.name}': {error}") from error


def _check_classes(info: ModelInfo, dataset: Dataset) -> None:
    """Refuse a model whose class list is not the data's: its numbers would mean nothing."""
    if info.classes is not None and info.classes != dataset.classes:
        pairs = zip(info.classes, dataset.classes, strict=False)
        differ = [f"{i}: '{m}' / '{d}'" for i, (m, d) in enumerate(pairs) if m != d][:4]
        raise InputError(
            f"model '{info.name}' has {len(info.classes)} classes and {dataset.name} has "
            f"{len(dataset.classes)}, and the lists differ"
            + (f" (model / data: {', '.join(differ)})" if differ else "")
            + "; they must be the same list in the same order"
        )
    if info.num_classes is not None and info.num_classes != len(dataset.classes):
        raise InputError(
            f"model '{info.name}' predicts {info.num_classes} classes, data set {dataset.name} "
            f"has {len(dataset.classes)}; they must be the same list in the same order"
        )
