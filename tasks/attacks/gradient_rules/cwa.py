"""CWA: the common weakness of an ensemble's members, by a small step back and a step per member."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from segtransfer.tasks.attacks.gradient_rules.base import (
    GRADIENTS,
    Gradient,
    GradientRule,
    GradientStep,
)
from segtransfer.tasks.attacks.magnitudes import over
from segtransfer.tasks.schema import Number


@GRADIENTS.add("cwa")
class CommonWeakness(GradientRule):
    """CWA (Chen et al., ICLR 2024): a small step back on the ensemble, then a step per member.

        x' = clip(x_t - r sign(g)), g the gradient of the ensemble at x_t, r = reverse * eps
        for each member k:  v = mu v + g_k(x') / |g_k(x')|_2,  x' = clip(x' + beta v)
        direction = x' - x_t

    v is kept from step to step. With ``momentum`` and sign steps this is MI-CWA of the authors'
    code, whose constants are the defaults here; the step back seeks flat maxima, the steps per
    member align the members' gradients. beta is in units of the pixel range times the L2 norm of
    the image: at 224 x 224 pixels 250 is 0.64 per value, so the projection ends most steps. Norms
    are per image; the code's last norm is the batch's. The code sums logits, ours follow
    ``average``. A gradient of zeros does not move x'. On a single model the rule is a step back,
    then a step along its gradient.

    Attributes:
        kind: The name, ``cwa``.
        reverse: The length r of the step back, in multiples of eps, in [0, 10]. Default 1/15.
        inner_step: The length beta of a step per member, in [0, 1,000,000]. Default 250.
        mu: The decay factor of v, in [0, 2]. Default 1.
    """

    draws: ClassVar[bool] = False
    for_ensembles: ClassVar[bool] = True

    kind: Literal["cwa"] = "cwa"
    reverse: Annotated[Number, Field(ge=0, le=10)] = 1 / 15
    inner_step: Annotated[Number, Field(ge=0, le=1e6)] = 250.0
    mu: Annotated[Number, Field(ge=0, le=2)] = 1.0

    @property
    def gradients_per_step(self) -> float:
        """Return 2: the ensemble's gradient, and the gradient of each member once."""
        return 2.0

    def gradient(self, step: GradientStep) -> Gradient:
        """Return the way from the iterate to the point after the steps of all members.

        Args:
            step: The iterate, the gradients of the ensemble and of its members.
        """
        whole = step.gradient_at(step.x)
        point = step.move(step.x, whole.values, -self.reverse * step.eps)
        velocity = step.memory.get("velocity", torch.zeros_like(step.x))
        for number in range(step.members):
            velocity = self.mu * velocity + _unit(step.gradient_at(point, members=[number]).values)
            reached = point + self.inner_step * velocity
            point = step.move(reached, torch.zeros_like(reached), 0.0)
        step.memory["velocity"] = velocity
        return Gradient(point - step.x, whole.losses, whole.ratios)


def _unit(gradient: torch.Tensor) -> torch.Tensor:
    """Return g / |g|_2 per image; a gradient of zeros stays zero."""
    return over(gradient, gradient.flatten(1).norm(dim=1)[:, None, None, None])
