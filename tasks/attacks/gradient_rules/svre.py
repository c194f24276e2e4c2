"""SVRE: the gradient of an ensemble with the variance between its members reduced."""

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
from segtransfer.tasks.attacks.magnitudes import normalise
from segtransfer.tasks.schema import Number, Whole


@GRADIENTS.add("svre")
class ReducedVariance(GradientRule):
    """SVRE (Xiong et al., CVPR 2022): inner steps on random members, corrected by the ensemble.

        g = the gradient of the ensemble at x_t, x' = x_t, G = 0
        M times, with a member k drawn uniformly:
            h = g_k(x') - (g_k(x_t) - g),  G = mu G + h / mean|h|,  x' = clip(x' + a sign(G))
        direction = G

    a is the step size, M = ``updates`` times the number of members: 16 for the paper's four. G
    starts at 0 in every step; ``momentum`` accumulates over steps, as in SVRE-MI-FGSM of the
    authors' code. Draws are shared by the images of a schedule group. g_k(x_t) is computed once per
    member drawn, which changes no value. On a single model h is its gradient at x'.

    Attributes:
        kind: The name, ``svre``.
        updates: The number of inner steps per member, 1 to 100. Default 4.
        mu: The decay factor of G, in [0, 2]. Default 1.
    """

    draws: ClassVar[bool] = True
    for_ensembles: ClassVar[bool] = True

    kind: Literal["svre"] = "svre"
    updates: Annotated[Whole, Field(ge=1, le=100)] = 4
    mu: Annotated[Number, Field(ge=0, le=2)] = 1.0

    @property
    def gradients_per_step(self) -> float:
        """Return updates + 2: g, the gradient of each member at x_t, and the inner steps."""
        return self.gradients_on(2)

    def gradients_on(self, members: int) -> float:
        """Return the mean number of gradients per step; few draws may miss a member.

        Args:
            members: The number of members of the source.
        """
        return 2 + self.updates - (1 - 1 / members) ** (self.updates * members)

    def gradient(self, step: GradientStep) -> Gradient:
        """Return the accumulated direction of the inner steps.

        Args:
            step: The iterate, the gradients of the ensemble and of its members.
        """
        whole = step.gradient_at(step.x)
        point, direction = step.x, torch.zeros_like(step.x)
        at_start: dict[int, torch.Tensor] = {}
        for update in range(self.updates * step.members):
            number = int(step.random.number(f"svre {update}") * step.members)
            if number not in at_start:
                at_start[number] = step.gradient_at(step.x, members=[number]).values
            inner = step.gradient_at(point, members=[number]).values
            reduced = normalise(inner - (at_start[number] - whole.values))
            direction = self.mu * direction + reduced
            point = step.move(point, direction, step.step_size)
        return Gradient(direction, whole.losses, whole.ratios)
