"""EMI: the mean gradient of points along the gradient of the step before."""

from __future__ import annotations

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
from segtransfer.tasks.attacks.magnitudes import normalise
from segtransfer.tasks.schema import Number, Whole


@GRADIENTS.add("emi")
class EnhancedMomentum(GradientRule):
    """EMI (Wang et al., BMVC 2021): the mean gradient at x + c a h over evenly spaced c.

    c takes ``samples`` values from -radius to radius, a is the step size, and h this rule's
    gradient of the step before divided by its mean magnitude, at the first step zero.

    Attributes:
        kind: The name, ``emi``.
        samples: The number of points, each a gradient per step, 2 to 200. Default 11.
        radius: The largest c, in steps, in [0, 100]. Default 7.
    """

    draws: ClassVar[bool] = False

    kind: Literal["emi"] = "emi"
    samples: Annotated[Whole, Field(ge=2, le=200)] = 11
    radius: Annotated[Number, Field(ge=0, le=100)] = 7.0

    @property
    @override
    def gradients_per_step(self) -> float:
        return float(self.samples)

    @override
    def gradient(self, step: GradientStep) -> Gradient:
        before = step.memory.get("before", torch.zeros_like(step.x))
        spacing = 2 * self.radius / (self.samples - 1)
        shifts = [-self.radius + number * spacing for number in range(self.samples)]
        found = mean_gradient(
            step.gradient_at(step.x + shift * step.step_size * before) for shift in shifts
        )
        step.memory["before"] = normalise(found.values)
        return found
