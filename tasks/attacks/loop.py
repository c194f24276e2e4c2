"""The one attack loop: start, look-ahead, transform, loss, gradient, smoothing, accumulation,
step, projection."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.context import AttackContext, ShardImages, aim, allowed, bounds
from segtransfer.tasks.attacks.gradients import loss_gradient, normalise, reduce_variance, smooth
from segtransfer.tasks.attacks.losses import LossContext, fooled, mean_labelled
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.models.base import Segmenter


@dataclass(frozen=True)
class Health:
    """How one run of the loop went: a loss a step and image, share of zero gradients a step and
    image, realised scale ratios a step and copy (of the first restart); ``pixels`` that the model
    had seen, all images and restarts together, when each returned iterate was there."""

    losses: list[list[float]]
    zero_gradients: list[list[float]]
    ratios: list[list[float]]
    pixels: list[int]


@dataclass
class _Attempt:
    """One run from one start: the iterates kept, what each had cost, and its health as tensors;
    ``lost`` says a step and image whether something was not a number."""

    iterates: list[torch.Tensor] = field(default_factory=list)
    pixels: list[int] = field(default_factory=list)
    losses: list[torch.Tensor] = field(default_factory=list)
    zero_gradients: list[torch.Tensor] = field(default_factory=list)
    lost: list[torch.Tensor] = field(default_factory=list)
    ratios: list[list[float]] = field(default_factory=list)


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
    """Adversarial examples of ``images`` under ``spec``, in float, inside the box and the ball.

    ``images`` N x 3 x H x W in [0, 1], ``labels`` int64 N x H x W with 255 ignored, both on the
    model's device; all images belong to schedule ``group``. ``model`` may be None for an attack
    of zero steps. ``shard`` and its ids are all clean images of the shard, ``images`` where left
    out. ``poll`` is called before every step, and stops the run where it raises. Returns one
    tensor for each of the spec's ``steps_at``, or the last iterate alone. Raises InputError where
    a step or an iterate is not a number.
    """
    region = allowed(spec.region, labels)
    lower, upper = bounds(images, spec, region)
    random = StepRandom(seed, group, 0, image_ids)
    if spec.steps == 0:
        return [start(images, spec, random, lower, upper, region)], Health([], [], [], [0])
    if model is None:
        raise ValueError(f"attack '{spec.name}' has {spec.steps} steps and needs a source model")
    context = AttackContext(
        model=model,
        spec=spec,
        clean=images,
        labels=aim(labels, spec.target, model.num_classes),
        lower=lower,
        upper=upper,
        region=region,
        image_ids=image_ids,
        shard=shard or ShardImages(images, tuple(image_ids)),
        seed=seed,
        group=group,
    )
    attempts = [_attempt(context, restart, poll) for restart in range(spec.restarts)]
    for attempt in attempts:
        _check_numbers(context, attempt)
    return _best(context, attempts)


def start(
    images: torch.Tensor,
    spec: AttackSpec,
    random: StepRandom,
    lower: torch.Tensor,
    upper: torch.Tensor,
    region: torch.Tensor | None = None,
) -> torch.Tensor:
    """x_0: the clean images, or a uniform draw by (seed, image id) from the ball, in the box.

    Under l2 from the ball's surface, where at this many dimensions nearly all of it lies.
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


def _attempt(context: AttackContext, restart: int, poll: Callable[[], None]) -> _Attempt:
    """All steps from one start."""
    spec, attempt, before = context.spec, _Attempt(), context.model.cost.pixels
    random = StepRandom(context.seed, context.group, 0, context.image_ids, restart=restart)
    x = start(context.clean, spec, random, context.lower, context.upper, context.region)
    momentum: torch.Tensor | None = None
    variance: torch.Tensor | None = None
    step = 0
    while _goes_on(context, step, context.model.cost.pixels - before):
        poll()
        random = StepRandom(context.seed, context.group, step, context.image_ids, restart=restart)
        loss_context = LossContext(step, spec.steps, spec.target is not None)
        found = loss_gradient(context, look_ahead(x, momentum, spec), random, loss_context)
        gradient = found.values
        zero = 1 - gradient.sign().abs_().mean((1, 2, 3))
        if spec.variance is not None:
            fresh = reduce_variance(context, x, found, random, loss_context)
            gradient = gradient if variance is None else gradient + variance
            variance = fresh
        gradient = smooth(gradient, spec.smoothing)
        if context.region is not None:
            gradient = gradient * context.region
        momentum = accumulate(momentum, gradient, spec)
        x = take_step(context, x, momentum)
        # Read after the last step alone: a GPU would wait. The sign of NaN is 0, which would show
        # in no iterate, and infinite values have a sign to follow.
        attempt.lost.append((momentum + x).amax((1, 2, 3)).isnan())
        step += 1
        if step in spec.steps_at:
            attempt.iterates.append(x)
            attempt.pixels.append(context.model.cost.pixels - before)
        attempt.losses.append(found.losses)
        attempt.zero_gradients.append(zero)
        attempt.ratios.append(found.ratios)
    if not spec.steps_at:
        attempt.iterates.append(x)
        attempt.pixels.append(context.model.cost.pixels - before)
    return attempt


def _check_numbers(context: AttackContext, attempt: _Attempt) -> None:
    """Raise InputError for the first step that was not a number, and its first image."""
    lost = torch.stack(attempt.lost).nonzero().tolist()
    if lost:
        step, image = lost[0]
        spec = context.spec
        loss = attempt.losses[step][image].item()
        raise InputError(
            f"attack '{spec.name}': step {step + 1} of image {context.image_ids[image]} is not a "
            f"number (NaN), where loss '{spec.loss}' was {loss:g}; the loss and the logits of the "
            "source need finite values and gradients (a square root or a logarithm of 0 has none)"
        )


def _goes_on(context: AttackContext, step: int, pixels: int) -> bool:
    """Whether another step is due: by number, or nearest to the budget as the model counted it."""
    spec, model = context.spec, context.model
    if spec.budget is None:
        return step < spec.steps_taken
    native = len(context.clean) * model.pixels_seen(*context.clean.shape[-2:])
    share = spec.budget.forward_equivalents / spec.restarts - (spec.restarts > 1)
    return step == 0 or pixels / native + spec.step_cost / 2 <= share


def look_ahead(x: torch.Tensor, momentum: torch.Tensor | None, spec: AttackSpec) -> torch.Tensor:
    """x + a * mu * m for Nesterov momentum, x itself else."""
    if momentum is None or spec.momentum is None or not spec.momentum.nesterov:
        return x
    return x + spec.step_size * spec.momentum.mu * momentum


def accumulate(
    momentum: torch.Tensor | None, gradient: torch.Tensor, spec: AttackSpec
) -> torch.Tensor:
    """m = mu * m + g / mean|g|, the mean over each image; without momentum the gradient itself."""
    if spec.momentum is None:
        return gradient
    gradient = normalise(gradient)
    return gradient if momentum is None else gradient.add_(momentum, alpha=spec.momentum.mu)


def take_step(context: AttackContext, x: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """A step along sign(m) and back into the box and the ball; along m / |m| under l2."""
    spec = context.spec
    if spec.norm == "linf":
        stepped = torch.add(x, direction.sign(), alpha=spec.step_size)
        return stepped.clamp_(context.lower, context.upper)
    # First to a largest value of one: squares of tiny gradients vanish, of huge ones overflow.
    unit = over(direction, direction.abs().amax((1, 2, 3), keepdim=True))
    unit = over(unit, root_mean_square(unit))
    delta = x + spec.step_size * unit - context.clean
    shrink = over(spec.eps, root_mean_square(delta)).clamp(max=1)
    return (context.clean + shrink * delta).clamp(context.lower, context.upper)


def over(values: torch.Tensor | float, divisor: torch.Tensor) -> torch.Tensor:
    """values / divisor; undivided where the divisor is zero."""
    return values / torch.where(divisor > 0, divisor, torch.ones_like(divisor))


def root_mean_square(values: torch.Tensor) -> torch.Tensor:
    """Of each image's values, N x 1 x 1 x 1."""
    return values.square().mean((1, 2, 3), keepdim=True).sqrt()


def _best(context: AttackContext, attempts: list[_Attempt]) -> tuple[list[torch.Tensor], Health]:
    """Image by image the attempt that fools most pixels at its end; the first of equals."""
    if len(attempts) == 1:
        choice = torch.zeros(len(context.clean), dtype=torch.long)
    else:
        shares = [_fooled_share(context, attempt.iterates[-1]) for attempt in attempts]
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


@torch.no_grad()
def _fooled_share(context: AttackContext, images: torch.Tensor) -> torch.Tensor:
    """Share of the pixels with a label that are where the attack wants them, N numbers."""
    loss_context = LossContext(0, 0, context.spec.target is not None)
    where = fooled(context.model(images), context.labels, loss_context)
    return mean_labelled(where.float(), context.labels)
