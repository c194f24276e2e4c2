"""PC: the gradient, corrected by the gradient at a predicted point."""

from typing import ClassVar, Literal

from typing_extensions import override

from segtransfer.tasks.attacks.gradient_rules.base import (
    GRADIENTS,
    Gradient,
    GradientRule,
    GradientStep,
)
from segtransfer.tasks.attacks.gradients import normalise


@GRADIENTS.add("pc")
class PredictionCorrection(GradientRule):
    """PC (Wan and Huang, 2023): g / mean|g| + g' / mean|g'|, g' at the end of a whole step.

    The predicted point is x plus the perturbation of a step of eps along g from the clean image.
    The paper's public code has one prediction and divides by the sum over a batch; here each image
    has its own mean.

    Attributes:
        kind: The name, ``pc``.
    """

    draws: ClassVar[bool] = False

    kind: Literal["pc"] = "pc"

    @property
    @override
    def gradients_per_step(self) -> float:
        return 2.0

    @override
    def gradient(self, step: GradientStep) -> Gradient:
        own = step.gradient_at(step.x)
        whole = step.move(step.clean, own.values, step.eps) - step.clean
        predicted = step.gradient_at(step.x + whole)
        values = normalise(own.values) + normalise(predicted.values)
        return Gradient(values, own.losses, own.ratios + predicted.ratios)
