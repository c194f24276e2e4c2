"""Checks of attacks and models against the data, before any work begins."""

from collections.abc import Sequence

import torch

from segtransfer.errors import InputError
from segtransfer.tasks.ae_files import check_files
from segtransfer.tasks.attacks.context import aim, allowed
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.base import Dataset
from segtransfer.tasks.data.shards import Outline
from segtransfer.tasks.models.base import ModelInfo


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
                    f"attack '{attack.name}': {field} names class {index}, but {dataset.name} has "
                    f"classes 0 to {len(dataset.classes) - 1}"
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
            f"model '{info.name}' has {len(info.classes)} classes and {dataset.name} has "
            f"{len(dataset.classes)}, and the lists differ"
            + (f" (model / data: {', '.join(differ)})" if differ else "")
            + "; both must be the same list in the same order: map the model's names with "
            "label_map, or give the model's true class list as classes"
        )
    if info.num_classes is not None and info.num_classes != len(dataset.classes):
        raise InputError(
            f"model '{info.name}' predicts {info.num_classes} classes, data set {dataset.name} "
            f"has {len(dataset.classes)}; both must be the same list in the same order"
        )
