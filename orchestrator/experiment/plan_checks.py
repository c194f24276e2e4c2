"""Checks of attacks and models against the data, before any work begins."""

from collections.abc import Mapping, Sequence

import torch

from segtransfer.errors import InputError
from segtransfer.experiment.spec import Experiment
from segtransfer.tasks.ae_files import check_files
from segtransfer.tasks.attacks.context import aim, allowed
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.base import Dataset
from segtransfer.tasks.data.shards import Outline
from segtransfer.tasks.models.info import ModelInfo


def check_class_indices(attack: AttackSpec, dataset: Dataset) -> None:
    """Refuse a target or region with a class index outside the data's classes.

    Such an attack would have no effect.

    Args:
        attack: The attack.
        dataset: The data set.

    Raises:
        InputError: An index is not below the number of classes.
    """
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
                    f"attack '{attack.name}': {field} has class index {index}; allowed: 0 to "
                    f"{len(dataset.classes) - 1}, the classes of {dataset.name}"
                )


def check_attack_files(attack: AttackSpec, shards: Sequence[Outline], num_classes: int) -> None:
    """Refuse AEs, a region's mask or a target's label map that do not fit the images.

    Args:
        attack: The attack.
        shards: The shards without pixels: image ids and sizes.
        num_classes: The number of classes of the data.

    Raises:
        InputError: A file is missing or unreadable, has another size than the images, or has a
            class that the data lack.
    """
    for shard in shards if attack.files is not None else ():
        check_files(attack, shard.image_ids, shard.size)
    mask = attack.region and attack.region.mask
    label_map = attack.target and attack.target.label_map
    for size, label_size in {(s.size, s.label_size) for s in shards} if mask or label_map else ():
        labels = torch.zeros((1, *label_size), dtype=torch.int64)
        try:
            allowed(attack.region, torch.zeros((1, *size), dtype=torch.int64))
            aim(labels, attack.target, num_classes)
        except InputError as error:
            raise InputError(f"attack '{attack.name}': {error}") from error


def check_kinds(experiment: Experiment, infos: Mapping[str, ModelInfo], dataset: Dataset) -> None:
    """Refuse a classifier on data without a class per image, and targets of both kinds.

    Args:
        experiment: The spec.
        infos: The models by name.
        dataset: The data set.

    Raises:
        InputError: The data lack the labels of a model, some targets alone are classifiers, or a
            classifier is to reach a label map of pixels.
    """
    for model in experiment.models:
        info = infos[model.name]
        if info.classifier and "images" not in dataset.labels_of:
            raise InputError(
                f"model '{info.name}' is a classifier, and data set {dataset.name} has a class per "
                "pixel; set data.crops, or read folders of images per class (data.reader: "
                "class-folders)"
            )
        if not info.classifier and "pixels" not in dataset.labels_of:
            raise InputError(
                f"model '{info.name}' predicts a class per pixel, and data set {dataset.name} has "
                "a class per image; give classifiers (classifier: true), or data with a class per "
                "pixel"
            )
    kinds = {infos[m.name].classifier: m.name for m in experiment.target_models}
    if len(kinds) > 1:
        raise InputError(
            f"target '{kinds[True]}' is a classifier and target '{kinds[False]}' predicts a class "
            "per pixel, and their scores have no common metric; name targets of one kind in "
            "targets (sources may be of both), and run the others as another experiment, which "
            "shares the adversarial examples"
        )
    sources = [m.name for m in experiment.source_models if infos[m.name].classifier]
    for attack in experiment.attacks:
        maps = [a for a in (attack, *attack.worst_of) if a.target and a.target.label_map]
        if sources and maps:
            raise InputError(
                f"attack '{attack.name}': target.label_map has a class per pixel, and source "
                f"'{sources[0]}' is a classifier; give target.every or target.classes"
            )


def check_classes(info: ModelInfo, dataset: Dataset) -> None:
    """Refuse a model whose class list is not the class list of the data.

    Args:
        info: The model. Its class list or its number of classes may be unknown.
        dataset: The data set.

    Raises:
        InputError: The lists, or the numbers of classes, differ.
    """
    if info.classes is not None and info.classes != dataset.classes:
        pairs = zip(info.classes, dataset.classes, strict=False)
        differ = [f"{i}: '{m}' / '{d}'" for i, (m, d) in enumerate(pairs) if m != d][:4]
        raise InputError(
            f"model '{info.name}' ({len(info.classes)} classes) and data set {dataset.name} "
            f"({len(dataset.classes)} classes) have different class lists"
            + (f" (model / data: {', '.join(differ)})" if differ else "")
            + "; map the model's class names to the data's with label_map, or correct the model's "
            "class list in classes"
        )
    if info.num_classes is not None and info.num_classes != len(dataset.classes):
        raise InputError(
            f"model '{info.name}' predicts {info.num_classes} classes, but data set "
            f"{dataset.name} has {len(dataset.classes)}; set the model's classes and label_map, or "
            "use data with the model's classes"
        )
