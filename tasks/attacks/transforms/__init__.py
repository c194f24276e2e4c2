"""Input transforms: typed specs with a view, in chains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo, WithJsonSchema

from segtransfer.tasks.attacks.transforms.base import TRANSFORMS, ForeignTransform, TransformSpec
from segtransfer.tasks.attacks.transforms.scaling import DynamicScaling
from segtransfer.tasks.attacks.transforms.views import TransformContext, View, then
from segtransfer.tasks.json_schema import NAMED_ENTRY
from segtransfer.tasks.registry import read_entry


def _read(value: Any, info: ValidationInfo) -> Any:
    """Accept ``ds`` and ``{ds: {low: 0.75, prob: 0.7}}`` beside the full form."""
    if isinstance(value, dict) and len(value) == 1:
        kind, fields = next(iter(value.items()))
        if kind in TRANSFORMS and isinstance(fields, dict):
            value = {kind: {"probability" if k == "prob" else k: v for k, v in fields.items()}}
    return read_entry(TRANSFORMS, ForeignTransform, value, info.context)


Transform = Annotated[
    SerializeAsAny[TransformSpec], BeforeValidator(_read), WithJsonSchema(NAMED_ENTRY)
]


def copies(transforms: Sequence[TransformSpec]) -> int:
    """Return the number of forwards per gradient: the product of the transforms' copies.

    Args:
        transforms: The chain, in the spec's order.

    Returns:
        1 or more; 1 for an empty chain.
    """
    return prod(transform.views_per_step for transform in transforms)


def relative_cost(transforms: Sequence[TransformSpec]) -> float:
    """Return the mean cost of a gradient, in forwards at native size.

    Args:
        transforms: The chain, in the spec's order.

    Returns:
        The product over transforms of copies times relative area; 1 for an empty chain.
    """
    return prod(transform.views_per_step * transform.relative_cost for transform in transforms)


def views(
    images: torch.Tensor,
    transforms: Sequence[TransformSpec],
    context: TransformContext,
    first: Callable[[torch.Tensor], View] = View,
) -> Iterator[View]:
    """Apply a chain of transforms to images, in the spec's order, once per copy.

    Args:
        images: float N x 3 x H x W in [0, 1].
        transforms: Specs of transforms, first applied first.
        context: The step's random numbers, the shard, and the model's size divisor.
        first: The view before all transforms, made per copy because a backward pass frees its
            graph; by default the images themselves.

    Yields:
        ``copies(transforms)`` views: every copy of a transform meets every copy of the next. The
        last transform's copy varies fastest.
    """
    for numbers in _numbers(transforms):
        view = first(images)
        for transform, number in zip(transforms, numbers, strict=True):
            numbered = replace(context, random=replace(context.random, copy=number))
            view = then(view, transform.view(view.images, numbered))
        yield view


def scale_numbers(transforms: Sequence[TransformSpec]) -> Iterator[int]:
    """Yield the number of the scale of dynamic scaling for each view, in the order of ``views``.

    Args:
        transforms: The chain, in the spec's order.

    Yields:
        0 to ``scales`` - 1; 0 for a chain without dynamic scaling.
    """
    for numbers in _numbers(transforms):
        paired = zip(numbers, transforms, strict=True)
        yield next((n for n, t in paired if isinstance(t, DynamicScaling)), 0)


def _numbers(transforms: Sequence[TransformSpec]) -> Iterator[tuple[int, ...]]:
    """Yield the number of each transform's copy, for every copy of the chain."""
    return product(*(range(transform.views_per_step) for transform in transforms))
