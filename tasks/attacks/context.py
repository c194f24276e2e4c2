"""The context of an attack run: images, labels to leave or to reach, and pixels to change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.components import Region, Target
from segtransfer.tasks.attacks.file_hash import content_hash
from segtransfer.tasks.attacks.losses import LossContext
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.transforms.views import resize_labels
from segtransfer.tasks.labels import IGNORE_INDEX, class_indices, image_classes, read_index_map

if TYPE_CHECKING:
    from segtransfer.tasks.models.base import Segmenter


@dataclass(frozen=True)
class ShardImages:
    """All clean images of a shard, from which mixing transforms draw.

    Attributes:
        images: float N x 3 x H x W in [0, 1].
        image_ids: An id per image.
    """

    images: torch.Tensor
    image_ids: tuple[str, ...]


@dataclass(frozen=True)
class AttackContext:
    """A micro-batch of images under an attack.

    Attributes:
        model: The source.
        spec: The attack.
        clean: Clean images, float N x 3 x H x W in [0, 1].
        labels: int64 N x h x w, 255 ignored: the truth, or the target of a targeted attack. N x 1
            x 1 for a classifier.
        lower: Lower bound of every value, float N x 3 x H x W in [0, 1].
        upper: Upper bound of every value, float N x 3 x H x W in [0, 1].
        region: float N x 1 x H x W, 1 for pixels to perturb and 0 elsewhere; None for all pixels.
        image_ids: An id per image.
        shard: All clean images of the shard.
        seed: The seed of the experiment.
        group: The schedule group of all images.
        clean_features: A cache: features of the clean images by model or member.
        watch: Measures of the logits of a gradient, beside its loss: a function of logits, labels
            and the ``LossContext`` that returns N x k numbers without a gradient. None for none.
        memories: The memory of the loss between the steps of a run, by model or member.
        references: The prepared reference of the loss by member, if the loss has one.
    """

    model: Segmenter
    spec: AttackSpec
    clean: torch.Tensor
    labels: torch.Tensor
    lower: torch.Tensor
    upper: torch.Tensor
    region: torch.Tensor | None
    image_ids: Sequence[str]
    shard: ShardImages
    seed: int
    group: int
    clean_features: dict[Segmenter, torch.Tensor] = field(default_factory=dict)
    watch: Callable[[torch.Tensor, torch.Tensor, LossContext], torch.Tensor] | None = None
    memories: dict[Segmenter, dict[str, Any]] = field(default_factory=dict)
    references: Mapping[Segmenter, torch.Tensor] = field(default_factory=dict)


def make_context(
    model: Segmenter,
    spec: AttackSpec,
    images: torch.Tensor,
    labels: torch.Tensor,
    image_ids: Sequence[str],
    *,
    seed: int,
    group: int,
    shard: ShardImages | None = None,
) -> AttackContext:
    """Return the context of a micro-batch, with its bounds, region and labels.

    Args:
        model: The source.
        spec: The attack.
        images: Clean images, float N x 3 x H x W in [0, 1].
        labels: The truth, int64 N x h x w, 255 ignored; a classifier gets the class of each image.
        image_ids: An id per image.
        seed: The seed of the experiment.
        group: The schedule group of all images.
        shard: All clean images of the shard, by default ``images``.

    Raises:
        InputError: If the region or the target does not fit the images or the model.
    """
    region = allowed(spec.region, resize_labels(labels, (images.shape[-2], images.shape[-1])))
    lower, upper = bounds(images, spec, region)
    if model.classifier:
        labels = torch.from_numpy(image_classes(labels.cpu().numpy())).to(labels)
    return AttackContext(
        model=model,
        spec=spec,
        clean=images,
        labels=aim(labels, spec.target, model.num_classes),
        lower=lower,
        upper=upper,
        region=region,
        image_ids=image_ids,
        shard=shard or ShardImages(images, tuple(image_ids)),
        seed=seed,
        group=group,
    )


def bounds(
    images: torch.Tensor, spec: AttackSpec, region: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the lower and upper bound of every value of the adversarial examples.

    Args:
        images: Clean images, float N x 3 x H x W in [0, 1].
        spec: The attack, with ``norm`` and ``eps``.
        region: float N x 1 x H x W, 1 for pixels to perturb; None for all pixels.

    Returns:
        Two tensors N x 3 x H x W: the box [0, 1], under linf intersected with the eps-ball. Outside
        the region both are the clean image.
    """
    eps = spec.eps if spec.norm == "linf" else 1.0
    reach = eps if region is None else eps * region
    return (images - reach).clamp(min=0), (images + reach).clamp(max=1)


def allowed(region: Region | None, labels: torch.Tensor) -> torch.Tensor | None:
    """Return the region as a mask of the images.

    Args:
        region: The pixels to perturb, or None for all.
        labels: int64 N x H x W on the images' grid.

    Returns:
        The mask, float N x 1 x H x W, or None for all pixels.

    Raises:
        InputError: If the mask's file is missing, changed since the plan, has another size than the
            images, or is 0 everywhere.
    """
    if region is None:
        return None
    mask = torch.ones_like(labels, dtype=torch.bool)
    if region.classes is not None:
        mask = torch.isin(labels, torch.tensor(region.classes, device=labels.device))
    if region.box is not None:
        height, width = labels.shape[-2:]
        top, bottom = round(region.box[0] * height), round(region.box[2] * height)
        left, right = round(region.box[1] * width), round(region.box[3] * width)
        inside = torch.zeros_like(mask)
        inside[:, top:bottom, left:right] = True
        mask &= inside
    if region.mask is not None:
        mask &= _mask(region, tuple(labels.shape)).to(labels.device)
    return mask[:, None].float()


def _mask(region: Region, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the non-zero pixels of the region's file, bool H x W."""
    numbers = _read_planned(region.mask, region.sha256, shape, "region.mask")
    if numbers.min() < 0:
        raise InputError(
            f"region.mask {region.mask} has the value {numbers.min()}; write 0 for pixels to keep, "
            "and a positive number for pixels to perturb"
        )
    if not numbers.any():
        raise InputError(
            f"region.mask {region.mask} is 0 everywhere, so no pixel may change; write a positive "
            "number at pixels to perturb"
        )
    return torch.tensor(numbers != 0)


def aim(labels: torch.Tensor, target: Target | None, num_classes: int) -> torch.Tensor:
    """Return the labels for the loss: the truth, or a target derived from the truth.

    Args:
        labels: The truth, int64 N x h x w, 255 ignored.
        target: The labels to reach, or None for an untargeted attack.
        num_classes: K, the number of classes of the source.

    Returns:
        int64 N x h x w, 255 ignored.

    Raises:
        InputError: If the target names a class of K or more, or the file of its label map is
            missing, changed since the plan, or of another size than the labels.
    """
    if target is None:
        return labels
    if target.every is not None:
        _check_class(target.every, num_classes)
        return torch.where(labels == IGNORE_INDEX, labels, target.every)
    if target.classes is not None:
        table = torch.arange(256, device=labels.device)
        if target.others == "ignore":
            table.fill_(IGNORE_INDEX)
        for source, goal in target.classes.items():
            _check_class(goal, num_classes)
            table[source] = goal
        table[IGNORE_INDEX] = IGNORE_INDEX
        return table[labels]
    return _label_map(target, tuple(labels.shape), num_classes).to(labels.device)


def _label_map(target: Target, shape: tuple[int, ...], num_classes: int) -> torch.Tensor:
    numbers = _read_planned(target.label_map, target.sha256, shape, "target.label_map")
    indices = class_indices(numbers, num_classes, f"target.label_map {target.label_map}")
    return torch.tensor(indices, dtype=torch.int64).expand(shape).clone()


def _read_planned(
    file: str | None, sha256: str | None, shape: tuple[int, ...], field: str
) -> np.ndarray:
    """Read the PNG of a field of the spec, H x W, for labels of ``shape`` N x H x W.

    Raises:
        InputError: If the file is missing, changed since the plan, has another size, or holds a
            value other than a whole number.
    """
    path = Path(str(file))
    if not path.is_file() or content_hash(path) != sha256:
        raise InputError(
            f"{field} {path} is missing, or changed since the plan was made; restore the file, or "
            "run the spec again"
        )
    values = read_index_map(path, field)
    if values.shape != shape[1:]:
        raise InputError(
            f"{field} {path} is {values.shape[0]} x {values.shape[1]} (height x width), "
            f"the images are {shape[1]} x {shape[2]}; give a file of the images' size"
        )
    return values


def _check_class(index: int, num_classes: int) -> None:
    if index >= num_classes:
        raise InputError(
            f"the attack's target is class {index}, and the source predicts classes 0 to "
            f"{num_classes - 1}; give a target in this range"
        )
