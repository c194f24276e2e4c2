"""The attack loop, from the start to the projection, as plain functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.begin import begin_run
from segtransfer.tasks.attacks.context import (
    AttackContext,
    ShardImages,
    allowed,
    bounds,
    make_context,
)
from segtransfer.tasks.attacks.gradient_rules.base import Gradient
from segtransfer.tasks.attacks.gradients import loss_gradient, reduce_variance, smooth
from segtransfer.tasks.attacks.loops.attempt import Attempt
from segtransfer.tasks.attacks.losses import LossContext, fooled, mean_labelled
from segtransfer.tasks.attacks.magnitudes import normalise, over, root_mean_square
from segtransfer.tasks.attacks.resolve import later_step_cost
from segtransfer.tasks.attacks.rule_step import make_step
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms.views import resize_labels

if TYPE_CHECKING:
    from segtransfer.tasks.models.base import Segmenter


@dataclass(frozen=True)
class Health:
    """The health of a run of the loop.

    Attributes:
        losses: The loss per step and image, of the restart kept.
        zero_gradients: The share of zero gradient values per step and image, in [0, 1].
        ratios: Realised scales per step and copy, of the first restart.
        pixels: Per returned iterate, the pixels processed by the model so far, all images and
            restarts together.
    """

    losses: list[list[float]]
    zero_gradients: list[list[float]]
    ratios: list[list[float]]
    pixels: list[int]


def run(
    model: Segmenter | None,
    spec: AttackSpec,
    images: torch.Tensor,
    labels: torch.Tensor,
    image_ids: Sequence[str],
    *,
    seed: int,
    group: int,
    shard: ShardImages | None = None,
    poll: Callable[[], None] = lambda: None,
) -> tuple[list[torch.Tensor], Health]:
    """Make adversarial examples inside the box [0, 1] and the eps-ball.

    Args:
        model: The source on its device, or None for an attack of zero steps.
        spec: The attack.
        images: Clean images, float N x 3 x H x W in [0, 1], on the model's device.
        labels: int64 N x h x w, 255 ignored, on the model's device. Logits are resized to their
            size for the loss.
        image_ids: An id per image, which seeds the image's noise.
        seed: The seed of the experiment.
        group: The schedule group of all images, which seeds the scales.
        shard: All clean images of the shard, by default ``images``.
        poll: Called before every step; an exception stops the run.

    Returns:
        The iterates, each float N x 3 x H x W in [0, 1], not yet rounded to 8 bits: an iterate per
        entry of ``steps_at``, or the last alone. And the health of the run.

    Raises:
        InputError: If a value of a gradient or an iterate is NaN, a user's loss is not finite, or
            the region or the target does not fit.
        ValueError: If an attack with steps gets no model.
    """
    if spec.steps == 0:
        region = allowed(spec.region, resize_labels(labels, (images.shape[-2], images.shape[-1])))
        lower, upper = bounds(images, spec, region)
        random = StepRandom(seed, group, 0, image_ids)
        return [start(images, spec, random, lower, upper, region)], Health([], [], [], [0])
    if model is None:
        raise ValueError(f"attack '{spec.name}' has {spec.steps} steps and needs a source model")
    context = make_context(
        model, spec, images, labels, image_ids, seed=seed, group=group, shard=shard
    )
    return _select_best(context, _attempts(context, poll))


def start(
    images: torch.Tensor,
    spec: AttackSpec,
    random: StepRandom,
    lower: torch.Tensor,
    upper: torch.Tensor,
    region: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return x_0: the clean images, or a uniform draw by (seed, image id) from the ball.

    Under l2 the draw is from the ball's surface, because in so many dimensions nearly all of the
    ball's volume is near its surface.

    Args:
        images: Clean images, float N x 3 x H x W in [0, 1].
        spec: The attack, with its ``start``, ``norm`` and ``eps``.
        random: The random numbers of the run.
        lower: Lower bound of every value, N x 3 x H x W.
        upper: Upper bound of every value, N x 3 x H x W.
        region: float N x 1 x H x W, 1 for pixels to perturb; None for all pixels.

    Returns:
        float N x 3 x H x W, within the bounds.
    """
    if spec.start == "clean":
        return images.clone()
    noise = random.start_noise(tuple(images.shape[1:]), images.device)
    if spec.norm == "l2":
        # A direction of equal values would not be uniform on the sphere; a normal draw is.
        noise = torch.erfinv(noise.clamp(-1 + 1e-6, 1 - 1e-6))
        noise = noise if region is None else noise * region
        noise = over(noise, root_mean_square(noise))
    return torch.minimum(torch.maximum(images + spec.eps * noise, lower), upper)


def _attempts(context: AttackContext, poll: Callable[[], None]) -> list[Attempt]:
    """Return a checked run per restart, by the spec's loop or by sign steps."""
    make = context.spec.loop.run if context.spec.loop else _run_attempt
    restarts = range(context.spec.restarts)
    attempts = [make(replace(context, memories={}), restart, poll) for restart in restarts]
    for attempt in attempts:
        _check_numbers(context, attempt)
    return attempts


def _run_attempt(context: AttackContext, restart: int, poll: Callable[[], None]) -> Attempt:
    """Run all steps from the start of a restart."""
    spec, attempt, before = context.spec, Attempt(), context.model.cost.pixels
    random = StepRandom(context.seed, context.group, 0, context.image_ids, restart=restart)
    context = begin_run(context, random, lambda first: _run_attempt(first, restart, poll))
    x = start(context.clean, spec, random, context.lower, context.upper, context.region)
    momentum: torch.Tensor | None = None
    variance: torch.Tensor | None = None
    memory: dict[str, Any] = {}
    step = 0
    while _is_step_due(context, step, context.model.cost.pixels - before):
        poll()
        random = StepRandom(context.seed, context.group, step, context.image_ids, restart=restart)
        loss_context = LossContext(step, spec.steps, spec.target is not None)
        ahead = look_ahead(x, momentum, spec)
        step_gradient = _gradient(context, ahead, random, loss_context, memory)
        gradient = step_gradient.values
        zero = 1 - gradient.sign().abs_().mean((1, 2, 3))
        if spec.variance is not None:
            next_variance = reduce_variance(context, x, step_gradient, random, loss_context)
            gradient = gradient if variance is None else gradient + variance
            variance = next_variance
        gradient = smooth(gradient, spec.smoothing)
        if context.region is not None:
            gradient = gradient * context.region
        momentum = accumulate(momentum, gradient, spec)
        factor = spec.gradient.factor(momentum, memory) if spec.gradient else None
        x = take_step(context, x, momentum, factor=factor)
        # Read after the last step, because reading makes the host wait for a GPU. The sign of NaN
        # is 0, so a NaN gradient shows in no iterate; infinite values have a valid sign.
        attempt.not_a_number.append((momentum + x).amax((1, 2, 3)).isnan())
        step += 1
        if step in spec.steps_at:
            attempt.iterates.append(x)
            attempt.pixels.append(context.model.cost.pixels - before)
        attempt.losses.append(step_gradient.losses)
        attempt.zero_gradients.append(zero)
        attempt.ratios.append(step_gradient.ratios)
    if not spec.steps_at:
        attempt.iterates.append(x)
        attempt.pixels.append(context.model.cost.pixels - before)
    return attempt


def _gradient(
    context: AttackContext,
    x: torch.Tensor,
    random: StepRandom,
    loss_context: LossContext,
    memory: dict[str, Any],
) -> Gradient:
    """Return the gradient of a step at ``x``: the loss's, or that of the spec's rule."""
    spec = context.spec
    if spec.gradient is None:
        return loss_gradient(context, x, random, loss_context)

    def move(point: torch.Tensor, direction: torch.Tensor, step_size: float) -> torch.Tensor:
        return take_step(context, point, direction, step_size=step_size)

    return spec.gradient.gradient(make_step(context, x, random, loss_context, memory, move))


def _check_numbers(context: AttackContext, attempt: Attempt) -> None:
    """Raise InputError for the first NaN of a step, or the first user's loss that is not finite."""
    positions = torch.stack(attempt.not_a_number).nonzero().tolist()
    if positions:
        step, image = positions[0]
        spec = context.spec
        loss = attempt.losses[step][image].item()
        raise InputError(
            f"attack '{spec.name}': the gradient of image {context.image_ids[image]} is not a "
            f"number (NaN) at step {step + 1}, with loss '{spec.loss}' = {loss:g}; give a loss and "
            "a source with finite values and gradients (a square root or logarithm of 0 has none)"
        )
    endless = (~torch.stack(attempt.losses).isfinite()).nonzero().tolist()
    if endless and context.spec.loss_sha256:  # a wrong shipped loss has a wrong gradient
        step, image = endless[0]
        raise InputError(
            f"attack '{context.spec.name}': loss '{context.spec.loss}' was "
            f"{attempt.losses[step][image].item():g} at step {step + 1} of image "
            f"{context.image_ids[image]}; return finite numbers"
        )


def _is_step_due(context: AttackContext, step: int, pixels: int) -> bool:
    """Tell whether another step is due: by number, or by the cost counted on the model."""
    spec, model = context.spec, context.model
    if spec.budget is None:
        return step < spec.steps_taken
    native = len(context.clean) * model.pixels_seen(*context.clean.shape[-2:])
    share = spec.budget.forward_equivalents / spec.restarts - (spec.restarts > 1)
    cost = later_step_cost(spec, len(model.all_members()))
    return step == 0 or pixels / native + cost / 2 <= share


def look_ahead(x: torch.Tensor, momentum: torch.Tensor | None, spec: AttackSpec) -> torch.Tensor:
    """Return the point of the next gradient: x + a * mu * m for Nesterov momentum, else x.

    Args:
        x: The iterate, float N x 3 x H x W.
        momentum: m, float N x 3 x H x W; None before the first step, which looks from ``x``.
        spec: The attack, with ``momentum`` and ``step_size`` a.

    Returns:
        float N x 3 x H x W, possibly outside the ball and [0, 1]; ``x`` itself, not a copy, without
        Nesterov momentum.
    """
    if momentum is None or spec.momentum is None or not spec.momentum.nesterov:
        return x
    return x + spec.step_size * spec.momentum.mu * momentum


def accumulate(
    momentum: torch.Tensor | None, gradient: torch.Tensor, spec: AttackSpec
) -> torch.Tensor:
    """Return the direction of the step: m = mu * m + g / mean|g|, or g without momentum.

    Args:
        momentum: The previous m, float N x 3 x H x W; None before the first step.
        gradient: g, float N x 3 x H x W; may be changed in place.
        spec: The attack, with ``momentum``.

    Returns:
        float N x 3 x H x W. mean|g| is the mean over the values of each image.
    """
    if spec.momentum is None:
        return gradient
    gradient = normalise(gradient)
    return gradient if momentum is None else gradient.add_(momentum, alpha=spec.momentum.mu)


def take_step(
    context: AttackContext,
    x: torch.Tensor,
    direction: torch.Tensor,
    *,
    step_size: float | None = None,
    factor: torch.Tensor | None = None,
) -> torch.Tensor:
    """Step along sign(m), or along m / |m| under l2, and project into the box and the ball.

    Args:
        context: The clean images, the bounds and the spec.
        x: The iterate, float N x 3 x H x W.
        direction: The gradient or the momentum m, N x 3 x H x W.
        step_size: The length of the step; by default the spec's.
        factor: A factor of the step per value, broadcast to N x 3 x H x W; None for 1.

    Returns:
        The next iterate, float N x 3 x H x W, within the box [0, 1] and the eps-ball.
    """
    spec = context.spec
    length = spec.step_size if step_size is None else step_size
    if spec.norm == "linf":
        unit = direction.sign() if factor is None else direction.sign() * factor
        stepped = torch.add(x, unit, alpha=length)
        return stepped.clamp_(context.lower, context.upper)
    # Scaled to a largest value of 1 first, because squares of tiny values underflow, of huge
    # values overflow.
    unit = over(direction, direction.abs().amax((1, 2, 3), keepdim=True))
    unit = over(unit, root_mean_square(unit))
    unit = unit if factor is None else unit * factor
    delta = x + length * unit - context.clean
    shrink = over(spec.eps, root_mean_square(delta)).clamp(max=1)
    return (context.clean + shrink * delta).clamp(context.lower, context.upper)


def _select_best(
    context: AttackContext, attempts: list[Attempt]
) -> tuple[list[torch.Tensor], Health]:
    """Select per image the attempt with most pixels fooled at its end; the first of equals."""
    if len(attempts) == 1:
        choice = torch.zeros(len(context.clean), dtype=torch.long)
    else:
        shares = [fooled_share(context, attempt.iterates[-1]) for attempt in attempts]
        choice = torch.stack(shares).max(0).indices.cpu()
    rows = torch.arange(len(choice))

    def chosen(tensors: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(tensors)[choice, rows] if len(tensors) > 1 else tensors[0]

    # A budget may end attempts after different numbers of steps.
    length = min(len(attempt.losses) for attempt in attempts)
    iterates = [
        chosen(list(images)) for images in zip(*(a.iterates for a in attempts), strict=True)
    ]
    pixels = [sum(counts) for counts in zip(*(a.pixels for a in attempts), strict=True)]
    health = Health(
        torch.stack([chosen([a.losses[t] for a in attempts]) for t in range(length)]).tolist(),
        torch.stack(
            [chosen([a.zero_gradients[t] for a in attempts]) for t in range(length)]
        ).tolist(),
        attempts[0].ratios,
        pixels,
    )
    return iterates, health


def fooled_share(context: AttackContext, images: torch.Tensor) -> torch.Tensor:
    """Return the share of labelled pixels fooled on the source.

    Args:
        context: The source, the labels and the direction of the attack.
        images: float N x 3 x H x W in [0, 1].

    Returns:
        N numbers in [0, 1].
    """
    loss_context = LossContext(0, 0, context.spec.target is not None)
    size = context.labels.shape[-2], context.labels.shape[-1]
    with torch.no_grad():
        logits = context.model.at(context.model(images), size)
        where = fooled(logits, context.labels, loss_context)
        return mean_labelled(where.float(), context.labels)
