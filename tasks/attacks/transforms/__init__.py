"""Input transforms: each a typed spec and a function (images, spec, context) -> View."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from segtransfer.tasks.attacks.transforms.diversity import (
    InputDiversity,
    ResizedDiversity,
    input_diversity,
)
from segtransfer.tasks.attacks.transforms.intensity import (
    Admix,
    IntensityScales,
    SpectrumSimulation,
    admix,
    intensity_scales,
    spectrum_simulation,
)
from segtransfer.tasks.attacks.transforms.scaling import DynamicScaling, dynamic_scaling
from segtransfer.tasks.attacks.transforms.views import TransformContext, View, then
from segtransfer.tasks.schema import suggest

TransformFunction = Callable[[torch.Tensor, Any, TransformContext], View]

TRANSFORMS: dict[str, tuple[type[Any], TransformFunction]] = {
    "ds": (DynamicScaling, dynamic_scaling),
    "di": (InputDiversity, input_diversity),
    "rdi": (ResizedDiversity, input_diversity),
    "si": (IntensityScales, intensity_scales),
    "admix": (Admix, admix),
    "ssa": (SpectrumSimulation, spectrum_simulation),
}


def _read(value: Any) -> Any:
    """Accept ``ds`` and ``{ds: {low: 0.75, prob: 0.7}}`` beside the full form."""
    if isinstance(value, str):
        value = {value: {}}
    if isinstance(value, dict) and "kind" not in value and len(value) == 1:
        kind, fields = next(iter(value.items()))
        if not isinstance(fields or {}, dict):
            raise PydanticCustomError(
                "transform",
                "the fields of transform '{kind}' are '{fields}'; give a mapping of field to value",
                {"kind": str(kind), "fields": str(fields)},
            )
        fields = {"probability" if k == "prob" else k: v for k, v in (fields or {}).items()}
        value = {"kind": kind, **fields}
    kind = value.get("kind") if isinstance(value, dict) else None
    if isinstance(value, dict) and kind not in TRANSFORMS:
        raise PydanticCustomError(
            "transform",
            "unknown transform '{kind}': {hint}",
            {"kind": str(kind), "hint": suggest(str(kind), TRANSFORMS)},
        )
    return value


Transform = Annotated[
    Annotated[
        DynamicScaling
        | InputDiversity
        | ResizedDiversity
        | IntensityScales
        | Admix
        | SpectrumSimulation,
        Field(discriminator="kind"),
    ],
    BeforeValidator(_read),
]


def copies(transforms: Sequence[Any]) -> int:
    """Return the number of forwards per gradient: the product of the transforms' copies."""
    return prod(transform.copies for transform in transforms)


def relative_cost(transforms: Sequence[Any]) -> float:
    """Return the mean cost of one gradient, in forwards at native size."""
    return prod(transform.copies * transform.relative_cost for transform in transforms)


def views(
    images: torch.Tensor, transforms: Sequence[Any], context: TransformContext
) -> Iterator[View]:
    """Apply a chain of transforms to images, in the spec's order, once per copy.

    Args:
        images: float N x 3 x H x W in [0, 1].
        transforms: Specs of transforms.
        context: The step's random numbers, the shard, and the model's size divisor.

    Yields:
        A view per copy; every copy of a transform meets every copy of the next.
    """
    for numbers in _numbers(transforms):
        view = View(images)
        for transform, number in zip(transforms, numbers, strict=True):
            numbered = replace(context, random=replace(context.random, copy=number))
            function = TRANSFORMS[transform.kind][1]
            view = then(view, function(view.images, transform, numbered))
        yield view


def scale_numbers(transforms: Sequence[Any]) -> Iterator[int]:
    """Yield, for each of ``views``, the number of its scale of dynamic scaling; 0 without it."""
    for numbers in _numbers(transforms):
        paired = zip(numbers, transforms, strict=True)
        yield next((n for n, t in paired if isinstance(t, DynamicScaling)), 0)


def _numbers(transforms: Sequence[Any]) -> Iterator[tuple[int, ...]]:
    """Yield the number of each transform's copy, for every copy of the chain."""
    return product(*(range(transform.copies) for transform in transforms))
