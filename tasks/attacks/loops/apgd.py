"""APGD: steps halved as soon as the loss stops to rise, from the best point so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from typing_extensions import override

from segtransfer.tasks.attacks.context import AttackContext, bounds
from segtransfer.tasks.attacks.gradients import loss_gradient
from segtransfer.tasks.attacks.loop import start
from segtransfer.tasks.attacks.loops.attempt import Attempt
from segtransfer.tasks.attacks.loops.spec import LOOPS, LoopSpec
from segtransfer.tasks.attacks.losses import (
    LOSSES,
    LossContext,
    fooled,
    is_feature_loss,
    mean_labelled,
)
from segtransfer.tasks.attacks.magnitudes import over, root_mean_square
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.schema import Flag, Text, suggest

# The constants of the paper, equal for every image and attack.
FORWARD_SHARE = 0.75  # the share of the new direction in a step, from the second step on
FIRST_STEP = 2.0  # of the radius
RISES = 0.75  # the step is halved if the loss rose in at most this share of the steps
FIRST_WINDOW, WINDOW_DECREASE, LEAST_WINDOW = 0.22, 0.03, 0.06  # shares of all steps
SHRINKING = ((2.0, 0.3), (1.5, 0.3), (1.0, 0.4))  # radius in multiples of eps, share of the steps


def _read_track(value: str) -> str:
    losses = [name for name in LOSSES if not is_feature_loss(name, None)]
    if value in losses:
        return value
    raise PydanticCustomError(
        "track",
        "unknown loss '{loss}' to track; {hint}",
        {"loss": value, "hint": suggest(value, losses)},
    )


@LOOPS.add("apgd")
class Apgd(LoopSpec):
    """Auto-PGD (Croce and Hein, ICML 2020), with the shrinking radius of SEA (ECCV 2024).

    z = P(x_t + a sign(g_t)); x_{t+1} = P(x_t + 0.75 (z - x_t) + 0.25 (x_t - x_{t-1})), with P the
    projection and a = 2 eps at first. At checkpoints the step of an image is halved, and the run
    resumes at the best point, if the loss rose in at most 75 % of the steps since the last
    checkpoint, or if neither step nor best loss changed at the last two. The first
    window between checkpoints is 22 % of the steps, each next one 3 % of the steps shorter, the
    shortest 6 %, as in the authors' code.

    Unlike that code, the first window compares the first step with the start (the code compares it
    with zeros), pixels without label count nowhere (the code counts them as right, except at the
    start), and a batch of fooled images takes all its steps.

    Attributes:
        kind: The name, ``apgd``.
        track: The loss by which steps are halved and the best point is chosen, the name of a
            shipped loss of logits. Default the loss of the attack.
        keep: The point returned: of the highest tracked ``loss``, the first of equals, or with most
            pixels ``fooled``, the last of equals. Default ``loss``.
        shrinking: Whether 30 % of the steps run in the ball of 2 eps, 30 % in 1.5 eps and the rest
            in eps. Each stage starts anew at the kept point, projected. Default false.
    """

    kind: Literal["apgd"] = "apgd"
    track: Annotated[Text, AfterValidator(_read_track)] | None = None
    keep: Literal["loss", "fooled"] = "loss"
    shrinking: Flag = False

    reads: ClassVar[frozenset[str]] = frozenset(
        {"start", "transforms", "loss", "target", "region", "steps_at"}
    )
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    @property
    @override
    def needs_labels(self) -> bool:
        return self.track is not None or self.keep == "fooled"

    @property
    @override
    def extra_gradients(self) -> float:
        return float(len(SHRINKING)) if self.shrinking else 1.0  # at the first point of a stage

    @override
    def check(self, attack: Any) -> None:
        super().check(attack)
        if self.shrinking and attack.steps_at:
            raise PydanticCustomError(
                "loop",
                "steps_at asks for iterates inside the ball, and with shrinking early iterates are "
                "outside; leave one of them out",
                {},
            )

    @override
    def run(self, context: AttackContext, restart: int, poll: Callable[[], None]) -> Attempt:
        climb = _Climb(self, context, restart, poll)
        x: torch.Tensor | None = None
        for radius, steps in self._stages(context.spec.steps):
            ball = _Ball.around(context, radius)
            x = climb.first(ball) if x is None else ball.project(x)
            x = climb.climb(ball, x, steps)
        if x is not None and not context.spec.steps_at:
            climb.keep(x)
        return climb.attempt

    def _stages(self, steps: int) -> list[tuple[float, int]]:
        """Return the radius, in multiples of eps, and the number of steps of each stage."""
        if not self.shrinking:
            return [(1.0, steps)]
        *early, (last, _) = SHRINKING
        stages = [(radius, int(share * steps)) for radius, share in early]
        return [*stages, (last, steps - sum(taken for _, taken in stages))]

    def watch(
        self, logits: torch.Tensor, labels: torch.Tensor, loss_context: LossContext
    ) -> torch.Tensor:
        """Return the share of labelled pixels fooled, and the tracked loss if it is another.

        Args:
            logits: float N x K x H x W.
            labels: int64 N x H x W, 255 ignored.
            loss_context: The step and the direction.

        Returns:
            N x 2 numbers, without a gradient.
        """
        logits = logits.detach()
        share = mean_labelled(fooled(logits, labels, loss_context).float(), labels)
        tracked = LOSSES[self.track](logits, labels, loss_context) if self.track else share
        return torch.stack([share, tracked], 1)


@dataclass(frozen=True)
class _Ball:
    """The ball of a stage around the clean images."""

    clean: torch.Tensor
    norm: str
    radius: float
    lower: torch.Tensor
    upper: torch.Tensor

    @classmethod
    def around(cls, context: AttackContext, multiple: float) -> _Ball:
        """Return the ball of a multiple of eps."""
        spec = context.spec
        radius = min(multiple * spec.eps, 1.0)
        wider = spec.model_copy(update={"eps": radius})
        lower, upper = bounds(context.clean, wider, context.region)
        return cls(context.clean, spec.norm, radius, lower, upper)

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Return the images projected into the ball and the box."""
        if self.norm == "linf":
            return x.clamp(self.lower, self.upper)
        delta = x - self.clean
        shrink = over(self.radius, root_mean_square(delta)).clamp(max=1)
        return (self.clean + shrink * delta).clamp(self.lower, self.upper)

    def direction(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return the direction of a step of length 1 under the norm."""
        if self.norm == "linf":
            return gradient.sign()
        unit = over(gradient, gradient.abs().amax((1, 2, 3), keepdim=True))
        return over(unit, root_mean_square(unit))


@dataclass(frozen=True)
class _Visit:
    """A point of a climb: images, gradients, tracked losses and shares of fooled pixels."""

    x: torch.Tensor
    gradient: torch.Tensor
    tracked: torch.Tensor
    fooled: torch.Tensor

    def where(self, mask: torch.Tensor, other: _Visit) -> _Visit:
        """Return this point for the images of the mask, and the other point elsewhere."""
        wide = mask[:, None, None, None]
        return _Visit(
            torch.where(wide, self.x, other.x),
            torch.where(wide, self.gradient, other.gradient),
            torch.where(mask, self.tracked, other.tracked),
            torch.where(mask, self.fooled, other.fooled),
        )


class _Checkpoints:
    """The rule that halves steps, for the images of a stage."""

    def __init__(self, steps: int, first: torch.Tensor) -> None:
        self._window = max(int(FIRST_WINDOW * steps), 1)
        self._decrease = max(int(WINDOW_DECREASE * steps), 1)
        self._least = max(int(LEAST_WINDOW * steps), 1)
        self._history, self._taken, self._best = [first], 0, first
        self._halved = torch.ones_like(first, dtype=torch.bool)

    def halve(self, tracked: torch.Tensor, best: torch.Tensor) -> torch.Tensor | None:
        """Return the mask of images with steps to halve; None between checkpoints.

        Args:
            tracked: The tracked loss after this step, N numbers.
            best: The best tracked loss so far, N numbers.
        """
        self._history.append(tracked)
        self._taken += 1
        if self._taken < self._window:
            return None
        recent = torch.stack(self._history[-self._window - 1 :])
        rises = (recent[1:] > recent[:-1]).sum(0)
        is_stuck = ~self._halved & (self._best >= best)
        self._halved = (rises <= RISES * self._window) | is_stuck
        self._best, self._taken = best, 0
        self._window = max(self._window - self._decrease, self._least)
        return self._halved


class _Climb:
    """The steps from a start, and their attempt."""

    def __init__(
        self, loop: Apgd, context: AttackContext, restart: int, poll: Callable[[], None]
    ) -> None:
        self._loop, self._restart, self._poll = loop, restart, poll
        self._context = replace(context, watch=loop.watch) if loop.needs_labels else context
        self._before, self._looks = context.model.cost.pixels, 0
        self.attempt = Attempt()

    def first(self, ball: _Ball) -> torch.Tensor:
        """Return the start in a ball."""
        context = self._context
        spec = context.spec.model_copy(update={"eps": ball.radius})
        random = self._random(0)
        return start(context.clean, spec, random, ball.lower, ball.upper, context.region)

    def climb(self, ball: _Ball, x: torch.Tensor, steps: int) -> torch.Tensor:
        """Take the steps of a stage, and return the point to keep."""
        spec = self._context.spec
        point = best = most = self._look(x, 0, steps)
        older, checkpoints = x, _Checkpoints(steps, point.tracked)
        sizes = torch.full_like(x[:, :1, :1, :1], FIRST_STEP * ball.radius)
        for taken in range(1, min(steps, spec.steps_taken) + 1):
            share = FORWARD_SHARE if taken > 1 else 1.0
            moved = ball.project(point.x + sizes * ball.direction(point.gradient))
            drift = point.x - older
            older = point.x
            moved = ball.project(older + (moved - older) * share + drift * (1 - share))
            point = self._look(moved, taken, steps)
            best = point.where(point.tracked > best.tracked, best)
            most = point.where(point.fooled >= most.fooled, most)
            halved = checkpoints.halve(point.tracked, best.tracked)
            if halved is not None:
                sizes = torch.where(halved[:, None, None, None], sizes / 2, sizes)
                point = best.where(halved, point)
            if taken in spec.steps_at:
                self.keep(self._kept(best, most))
        return self._kept(best, most)

    def keep(self, x: torch.Tensor) -> None:
        """Add an iterate to the attempt."""
        self.attempt.iterates.append(x)
        self.attempt.pixels.append(self._context.model.cost.pixels - self._before)

    def _kept(self, best: _Visit, most: _Visit) -> torch.Tensor:
        return best.x if self._loop.keep == "loss" else most.x

    def _random(self, step: int) -> StepRandom:
        context = self._context
        return StepRandom(
            context.seed, context.group, step, context.image_ids, restart=self._restart
        )

    def _look(self, x: torch.Tensor, step: int, steps: int) -> _Visit:
        """Return the point at the images, and record its health."""
        self._poll()
        context, attempt = self._context, self.attempt
        loss_context = LossContext(step, steps, context.spec.target is not None)
        found = loss_gradient(context, x, self._random(self._looks), loss_context)
        self._looks += 1
        gradient = found.values if context.region is None else found.values * context.region
        attempt.losses.append(found.losses)
        attempt.ratios.append(found.ratios)
        attempt.zero_gradients.append(1 - found.values.sign().abs_().mean((1, 2, 3)))
        attempt.not_a_number.append(found.values.amax((1, 2, 3)).isnan())
        share = tracked = found.losses
        if found.watched is not None:
            share = found.watched[:, 0]
            tracked = found.watched[:, 1] if self._loop.track else found.losses
        return _Visit(x, gradient, tracked, share)
