"""The inputs of a gradient rule at a step, made from the context of the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from segtransfer.tasks.attacks.context import AttackContext
from segtransfer.tasks.attacks.gradient_rules.base import Gradient, GradientStep
from segtransfer.tasks.attacks.gradients import loss_gradient, loss_values
from segtransfer.tasks.attacks.losses import LossContext
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms.views import View


def make_step(
    context: AttackContext,
    x: torch.Tensor,
    random: StepRandom,
    loss_context: LossContext,
    memory: dict[str, Any],
    move: Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor],
) -> GradientStep:
    """Return the inputs of a gradient rule.

    Args:
        context: The images, the labels, the model and the spec.
        x: The point of the step's gradient, float N x 3 x H x W.
        random: The random numbers of the step.
        loss_context: The step and the direction, for the loss.
        memory: The rule's values from step to step.
        move: Returns the projected point after a step along a direction.
    """
    spec, drawn = context.spec, random

    def gradient_at(
        point: torch.Tensor,
        *,
        random: StepRandom | None = None,
        members: Sequence[int] | None = None,
        first: Callable[[torch.Tensor], View] = View,
        weights: torch.Tensor | None = None,
    ) -> Gradient:
        return loss_gradient(context, point, random or drawn, loss_context, members, first, weights)

    def loss_at(point: torch.Tensor, members: Sequence[int] | None = None) -> torch.Tensor:
        return loss_values(context, point, random, loss_context, members)

    return GradientStep(
        x=x,
        clean=context.clean,
        number=loss_context.step,
        steps=loss_context.steps,
        eps=spec.eps,
        step_size=spec.step_size,
        model=context.model,
        random=random,
        gradient_at=gradient_at,
        loss_at=loss_at,
        move=move,
        memory=memory,
        region=context.region,
    )
