"""MEF: the mean gradient of points pushed towards the weakest attack around."""

from __future__ import annotations

from typing import Annotated, Literal

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
from segtransfer.tasks.attacks.magnitudes import normalise
from segtransfer.tasks.schema import Number, Whole


@GRADIENTS.add("mef")
class ExpectedFlatness(GradientRule):
    """MEF (Qiu et al., 2024): the mean gradient at x + U(-radius eps, radius eps) + push eps d_i.

    Each point i has a direction d_i <- g_i / mean|g_i| - decay d_i, g_i its gradient, at the first
    step zero: the public code's approximation of the direction in which the attack is weakest.

    Attributes:
        kind: The name, ``mef``.
        samples: The number of points, each a gradient per step, 1 to 200. Default 20.
        radius: The radius of the neighbourhood, in multiples of eps, in [0, 10]. Default 2.
        push: The length along d_i, in multiples of eps, in [0, 10]. Default 0.15.
        decay: The factor of d_i from step to step, in [0, 2]. Default 0.9.
    """

    kind: Literal["mef"] = "mef"
    samples: Annotated[Whole, Field(ge=1, le=200)] = 20
    radius: Annotated[Number, Field(ge=0, le=10)] = 2.0
    push: Annotated[Number, Field(ge=0, le=10)] = 0.15
    decay: Annotated[Number, Field(ge=0, le=2)] = 0.9

    @property
    @override
    def gradients_per_step(self) -> float:
        return float(self.samples)

    @override
    def gradient(self, step: GradientStep) -> Gradient:
        return mean_gradient(self._pushed(step, number) for number in range(self.samples))

    def _pushed(self, step: GradientStep, number: int) -> Gradient:
        """Return the gradient at a point, and remember the point's next direction."""
        direction = step.memory.get(f"direction {number}", torch.zeros_like(step.x))
        near = step.x + step.noise(number, self.radius) + self.push * step.eps * direction
        found = step.gradient_at(near)
        step.memory[f"direction {number}"] = normalise(found.values) - self.decay * direction
        return found
