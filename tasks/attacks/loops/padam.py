"""PAdam: projected Adam on the perturbation."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from typing_extensions import override

from segtransfer.tasks.attacks.context import AttackContext
from segtransfer.tasks.attacks.gradients import loss_gradient
from segtransfer.tasks.attacks.loop import start
from segtransfer.tasks.attacks.loops.attempt import Attempt
from segtransfer.tasks.attacks.loops.spec import LOOPS, LoopSpec
from segtransfer.tasks.attacks.losses import LossContext
from segtransfer.tasks.attacks.step_random import StepRandom


@LOOPS.add("padam")
class PAdam(LoopSpec):
    """Projected Adam (Halmosi et al., ECCV 2024, "Trying Harder Pays Off").

    delta follows AMSGrad (Adam with the largest second moment so far; 0.9, 0.999, 1e-8) with
    learning rate ``step_size``, and is clipped to the ball and the box after every step. The last
    iterate is returned. As in the authors' code, the loss is a mean over pixels; unlike there, the
    mean is over the labelled pixels of an image alone, so that no image depends on its batch. The
    scale of the loss has an effect only through Adam's 1e-8.

    Attributes:
        kind: The name, ``padam``.
    """

    kind: Literal["padam"] = "padam"

    reads: ClassVar[frozenset[str]] = frozenset(
        {"step_size", "start", "transforms", "loss", "target", "region", "steps_at"}
    )

    @override
    def run(self, context: AttackContext, restart: int, poll: Callable[[], None]) -> Attempt:
        spec, attempt, before = context.spec, Attempt(), context.model.cost.pixels
        parts = context.seed, context.group
        random = StepRandom(*parts, 0, context.image_ids, restart=restart)
        x = start(context.clean, spec, random, context.lower, context.upper, context.region)
        delta = (x - context.clean).requires_grad_()
        adam = torch.optim.Adam([delta], lr=spec.step_size, amsgrad=True, maximize=True)
        for step in range(spec.steps_taken):
            poll()
            random = StepRandom(*parts, step, context.image_ids, restart=restart)
            loss_context = LossContext(step, spec.steps, spec.target is not None)
            gradient = loss_gradient(context, x, random, loss_context)
            values = gradient.values
            attempt.losses.append(gradient.losses)
            attempt.ratios.append(gradient.ratios)
            attempt.zero_gradients.append(1 - values.sign().abs_().mean((1, 2, 3)))
            attempt.not_a_number.append(values.amax((1, 2, 3)).isnan())
            delta.grad = values if context.region is None else values * context.region
            adam.step()
            with torch.no_grad():
                delta.clamp_(-spec.eps, spec.eps)
                x = (context.clean + delta).clamp(context.lower, context.upper)
                delta.copy_(x - context.clean)
                x = context.clean + delta
            if step + 1 in spec.steps_at or step + 1 == spec.steps_taken:
                attempt.iterates.append(x)
                attempt.pixels.append(context.model.cost.pixels - before)
        return attempt
