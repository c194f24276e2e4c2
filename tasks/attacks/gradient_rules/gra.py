"""GRA: the gradient and its neighbours' mean, weighted by their likeness."""

from __future__ import annotations

from typing import Annotated, Any, Literal

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
from segtransfer.tasks.attacks.magnitudes import over
from segtransfer.tasks.schema import Number, Whole


@GRADIENTS.add("gra")
class GradientRelevance(GradientRule):
    """GRA (Zhu et al., ICCV 2023): s g + (1 - s) h, and a step that shrinks where signs alternate.

    g is the gradient at x, h the mean gradient at points in x + U(-radius eps, radius eps), s their
    cosine per image. The step size of a value is multiplied by ``decay`` at each change of the sign
    of its direction.

    Attributes:
        kind: The name, ``gra``.
        samples: The number of points, each a gradient per step, 1 to 200. Default 20.
        radius: The radius of the neighbourhood, in multiples of eps, in [0, 10]. Default 3.5.
        decay: The factor of the step size of a value whose direction changes sign, in (0, 1].
            Default 0.94.
    """

    kind: Literal["gra"] = "gra"
    samples: Annotated[Whole, Field(ge=1, le=200)] = 20
    radius: Annotated[Number, Field(ge=0, le=10)] = 3.5
    decay: Annotated[Number, Field(gt=0, le=1)] = 0.94

    @property
    @override
    def gradients_per_step(self) -> float:
        return 1.0 + self.samples

    @override
    def gradient(self, step: GradientStep) -> Gradient:
        own = step.gradient_at(step.x)
        around = mean_gradient(
            step.gradient_at(step.x + step.noise(number, self.radius))
            for number in range(self.samples)
        )
        share = cosine(own.values, around.values)
        values = share * own.values + (1 - share) * around.values
        return Gradient(values, own.losses, own.ratios + around.ratios)

    @override
    def factor(self, direction: torch.Tensor, memory: dict[str, Any]) -> torch.Tensor:
        signs = direction.sign()
        if "signs" in memory:  # the first step has no direction before it
            changed = signs != memory["signs"]
            memory["factor"] = torch.where(changed, memory["factor"] * self.decay, memory["factor"])
        else:
            memory["factor"] = torch.ones_like(direction)
        memory["signs"] = signs
        factor: torch.Tensor = memory["factor"]
        return factor


def cosine(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the cosine of the angle between two gradients of each image.

    Args:
        one: float N x 3 x H x W.
        other: float N x 3 x H x W.

    Returns:
        float N x 1 x 1 x 1; 0 if a gradient is zero.
    """
    # Scaled to a largest value of 1, because squares of tiny values underflow.
    ones, others = (over(v, v.abs().amax((1, 2, 3), keepdim=True)) for v in (one, other))
    lengths = (ones.square().sum((1, 2, 3), True) * others.square().sum((1, 2, 3), True)).sqrt()
    product = (ones * others).sum((1, 2, 3), keepdim=True)
    return over(product, lengths)
