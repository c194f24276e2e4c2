"""PGN: the gradient of points around, with a penalty of its norm."""

from typing import Annotated, Literal

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


@GRADIENTS.add("pgn")
class PenalisedNorm(GradientRule):
    """PGN (Ge et al., NeurIPS 2023): the mean of (1 - b) g + b g' over points around x.

    g is the gradient at x' in x + U(-radius eps, radius eps), g' the gradient at
    x' - a g / mean|g|, with a the step size. The mean approximates the gradient of the loss less a
    penalty of the gradient's norm, without a Hessian, so it leads to flat maxima.

    Attributes:
        kind: The name, ``pgn``.
        samples: The number of points x', each two gradients per step, 1 to 200. Default 20.
        radius: The radius of the neighbourhood, in multiples of eps, in [0, 10]. Default 3.
        balance: The share b of the second gradient, in [0, 1]. Default 0.5.
    """

    kind: Literal["pgn"] = "pgn"
    samples: Annotated[Whole, Field(ge=1, le=200)] = 20
    radius: Annotated[Number, Field(ge=0, le=10)] = 3.0
    balance: Annotated[Number, Field(ge=0, le=1)] = 0.5

    @property
    @override
    def gradients_per_step(self) -> float:
        return 2.0 * self.samples

    @override
    def gradient(self, step: GradientStep) -> Gradient:
        return mean_gradient(self._penalised(step, number) for number in range(self.samples))

    def _penalised(self, step: GradientStep, number: int) -> Gradient:
        """Return (1 - b) g + b g' for a point, with the loss at the point."""
        near = step.x + step.noise(number, self.radius)
        first = step.gradient_at(near)
        behind = step.gradient_at(near - step.step_size * normalise(first.values))
        values = (1 - self.balance) * first.values + self.balance * behind.values
        return Gradient(values, first.losses, first.ratios + behind.ratios)
