"""ANDA: the mean of all gradients so far, over shifts of the image."""

from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from segtransfer.tasks.attacks.gradient_rules.base import (
    GRADIENTS,
    Gradient,
    GradientRule,
    GradientStep,
    mean_gradient,
)
from segtransfer.tasks.attacks.transforms.affine import turned
from segtransfer.tasks.schema import Number, Whole


@GRADIENTS.add("anda")
class NormalDistribution(GradientRule):
    """ANDA (Fang et al., CVPR 2024): the mean gradient of all steps so far, over shifted images.

    Each step sees the iterate at ``side`` x ``side`` evenly spaced shifts, of both signs. The mean
    is that of the paper's normal distribution of gradients. Its public code also steps along the
    mean; an option, off by default, samples the distribution for the last step. Labels follow the
    shifts.

    Attributes:
        kind: The name, ``anda``.
        side: The number of shifts along each side, 2 to 15; side^2 gradients per step. Default 5.
        reach: The largest shift, as a share of half a side, in [0, 1]. Default 0.3.
    """

    draws: ClassVar[bool] = False
    views: ClassVar[bool] = True

    kind: Literal["anda"] = "anda"
    side: Annotated[Whole, Field(ge=2, le=15)] = 5
    reach: Annotated[Number, Field(ge=0, le=1)] = 0.3

    @property
    @override
    def gradients_per_step(self) -> float:
        return float(self.side**2)

    @override
    def gradient(self, step: GradientStep) -> Gradient:
        spacing = self.reach / (self.side - 1)
        shifts = [-self.reach / 2 + number * spacing for number in range(self.side)]
        found = mean_gradient(
            step.gradient_at(step.x, first=partial(turned, down=down, right=right))
            for right in shifts
            for down in shifts
        )
        total = step.memory.get("total", 0) + found.values
        step.memory["total"] = total
        return Gradient(total / (step.number + 1), found.losses, found.ratios)
