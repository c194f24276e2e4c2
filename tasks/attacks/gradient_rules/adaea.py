"""AdaEA: members weighted by how their adversarial examples transfer, and a filter of pixels."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.gradient_rules.base import (
    GRADIENTS,
    Gradient,
    GradientRule,
    GradientStep,
)
from segtransfer.tasks.attacks.magnitudes import over
from segtransfer.tasks.schema import Number


@GRADIENTS.add("adaea")
class AdaptiveEnsemble(GradientRule):
    """AdaEA (Chen et al., ICCV 2023): adaptive weights of members, and a filter of their disparity.

        x_j = clip(x_t + a sign(g_j)), g_j the gradient of member j at x_t
        w = softmax_j(beta sum_{i != j} L_i(x_j) / L_i(x_i)),  L_i the loss of member i
        S = mean over i of c_i,  c_i the mean over j != i of cos(g_i, g_j) per pixel, c_last = 0
        direction = [S >= threshold] grad L(sum_k w_k f_k(x_t))

    Read from the authors' code, not from the paper. The code leaves the last member's c at 0, so S
    of two members is half their cosine. Weights are per image; the code takes the mean loss of a
    batch. The code's start, the clean image plus 0.001 N(0, 1), is left out. With ``average``
    gradients or loss, w weighs gradients or losses instead of logits. The ensemble's own weights
    have no effect. On a single model the direction is its gradient.

    Attributes:
        kind: The name, ``adaea``.
        beta: The factor beta of the ratios of losses, in [0, 1000]. Default 10.
        threshold: The least S of a kept pixel, in [-1, 1]. Default -0.3.
    """

    draws: ClassVar[bool] = False
    for_ensembles: ClassVar[bool] = True

    kind: Literal["adaea"] = "adaea"
    beta: Annotated[Number, Field(ge=0, le=1000)] = 10.0
    threshold: Annotated[Number, Field(ge=-1, le=1)] = -0.3

    @property
    def gradients_per_step(self) -> float:
        """Return the number for two members: 4."""
        return self.gradients_on(2)

    def gradients_on(self, members: int) -> float:
        """Return members + 2: forwards of every x_j on every member, and two gradients.

        Args:
            members: The number of members of the source; for 1 the number is 1.
        """
        return 1.0 if members == 1 else members + 2.0

    def gradient(self, step: GradientStep) -> Gradient:
        """Return the gradient of the ensemble with adaptive weights, filtered.

        Args:
            step: The iterate, the gradients of the ensemble and of its members.

        Raises:
            InputError: If a loss is negative, because ratios of losses then have no meaning.
        """
        if step.members == 1:
            return step.gradient_at(step.x)
        numbers = range(step.members)
        gradients = [step.gradient_at(step.x, members=[number]).values for number in numbers]
        found = step.gradient_at(step.x, weights=self._weights(step, gradients))
        kept = _agreement(gradients) >= self.threshold
        return Gradient(found.values * kept, found.losses, found.ratios)

    def _weights(self, step: GradientStep, gradients: list[torch.Tensor]) -> torch.Tensor:
        """Return w, float N x members, from the losses of every member at every member's x_j."""
        numbers = range(step.members)
        points = [step.move(step.x, gradient, step.step_size) for gradient in gradients]
        losses = [[step.loss_at(point, [number]) for point in points] for number in numbers]
        if any((loss < 0).any() for row in losses for loss in row):
            raise InputError(
                "gradient 'adaea' weighs members by ratios of losses, and a loss is negative; give "
                "a loss of at least 0 such as cross-entropy, and no target"
            )
        sums = [
            torch.stack([_ratio(losses[i][j], losses[i][i]) for i in numbers if i != j]).sum(0)
            for j in numbers
        ]
        return (self.beta * torch.stack(sums, 1)).softmax(1)


def _ratio(loss: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Return loss / own, 1 at losses of zero."""
    return torch.where(own > 0, over(loss, own), 1.0)


def _agreement(gradients: list[torch.Tensor]) -> torch.Tensor:
    """Return S per pixel, float N x 1 x H x W, in [-1, 1]."""
    units = [torch.nn.functional.normalize(gradient, dim=1) for gradient in gradients]
    count = len(units)
    total = torch.zeros_like(units[0][:, :1])
    for i in range(count - 1):  # the last row is 0 in the authors' code
        cosines = [(units[i] * units[j]).sum(1, keepdim=True) for j in range(count) if j != i]
        total += torch.stack(cosines).sum(0) / (count - 1)
    return total / count
