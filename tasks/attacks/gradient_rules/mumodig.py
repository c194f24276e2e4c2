"""MuMoDIG: integrated gradients of transformed images, from baselines that lie below them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from typing_extensions import override

from segtransfer.tasks.attacks.gradient_rules.base import (
    GRADIENTS,
    Gradient,
    GradientRule,
    GradientStep,
    mean_gradient,
)
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms.affine import turned
from segtransfer.tasks.attacks.transforms.diversity import ResizedDiversity
from segtransfer.tasks.attacks.transforms.views import TransformContext, View
from segtransfer.tasks.schema import Number, Whole

_RESIZED = ResizedDiversity(high=245 / 224)


@GRADIENTS.add("mumodig")
class MonotonicIntegrated(GradientRule):
    """MuMoDIG (Ren et al., AAAI 2025): the sum of (z - b) * grad L(f(b + p (z - b))) over z.

    z is x itself, and ``copies`` random transforms of x; b is the baseline of z: per channel,
    values below a random threshold become the smallest value, all others the threshold. A transform
    is, with equal chance, a resize with padding and a resize back, or one of two cyclic shifts, two
    flips and a turn by U(-45, 45) degrees. Labels follow. All images of a step share the
    transforms, also the angle, and each image has its own thresholds.

    As in the public code, grad is the gradient to x, and z - b is not transformed back.

    Attributes:
        kind: The name, ``mumodig``.
        copies: The number of transforms, each a gradient per step, 0 to 200. Default 6.
        position: The place p of the gradient between b and z, in [0, 1]. Default 0.65.
    """

    views: ClassVar[bool] = True

    kind: Literal["mumodig"] = "mumodig"
    copies: Annotated[Whole, Field(ge=0, le=200)] = 6
    position: Annotated[Number, Field(ge=0, le=1)] = 0.65

    @property
    @override
    def gradients_per_step(self) -> float:
        return 1.0 + self.copies

    @override
    def gradient(self, step: GradientStep) -> Gradient:
        return mean_gradient(self._integrated(step, number) for number in range(1 + self.copies))

    def _integrated(self, step: GradientStep, number: int) -> Gradient:
        """Return the integrated gradient of a transform, or of the iterate itself for number 0."""
        random = replace(step.random, copy=number)
        transform = _transform(random, step) if number else View
        found = step.gradient_at(step.x, first=partial(self._between, transform, random))
        seen = transform(step.x).images
        return replace(found, values=found.values * (seen - _baseline(seen, random)))

    def _between(
        self, transform: Callable[[torch.Tensor], View], random: StepRandom, images: torch.Tensor
    ) -> View:
        """Return the view between the baseline and the transformed images."""
        view = transform(images)
        baseline = _baseline(view.images, random)
        return replace(view, images=baseline + self.position * (view.images - baseline))


def _transform(random: StepRandom, step: GradientStep) -> Callable[[torch.Tensor], View]:
    """Return the transform of a copy, the same for all images."""
    if random.number("mumodig: resized") < 0.5:
        context = TransformContext(1, random, step.clean, tuple(random.image_ids))
        return lambda images: _RESIZED.view(images, context)
    kind = int(5 * random.number("mumodig: kind"))
    amount = random.number("mumodig: amount")
    if kind == 4:
        return partial(turned, degrees=90 * amount - 45)
    axis = -2 if kind in (0, 2) else -1
    return partial(_rolled if kind < 2 else _flipped, axis=axis, amount=amount)


def _rolled(images: torch.Tensor, *, axis: int, amount: float) -> View:
    """Return images shifted cyclically along an axis by a share of its length."""

    def roll(values: torch.Tensor, sign: int) -> torch.Tensor:
        length = values.shape[axis]
        return values.roll(sign * int(amount * length), axis)

    return View(roll(images, 1), partial(roll, sign=1), partial(roll, sign=-1))


def _flipped(images: torch.Tensor, *, axis: int, amount: float) -> View:
    """Return images flipped along an axis."""

    def flip(values: torch.Tensor) -> torch.Tensor:
        return values.flip(axis)

    return View(flip(images), flip, flip)


def _baseline(images: torch.Tensor, random: StepRandom) -> torch.Tensor:
    """Return per channel the lower ends of two ranges, split at a random value of each image."""
    images = images.detach()
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    drawn = torch.stack(
        [
            torch.rand(3, 1, 1, generator=random.generator("mumodig: range", image_id))
            for image_id in random.image_ids
        ]
    )
    split = low + drawn.to(images) * (high - low)
    return torch.where(images < split, low, split)
