"""The one attack loop: start, transform, loss, gradient, accumulation, step, projection."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tasks.attacks.losses import LOSSES
from tasks.attacks.spec import AttackSpec
from tasks.attacks.transforms import Transformed, dynamic_scaling, identity, schedule_draw
from tasks.models.base import Segmenter
from tasks.randomness import image_noise


@dataclass(frozen=True)
class Health:
    """How one run of the loop went: a loss a step and image, share of zero gradients a step,
    realised scale ratio a step."""

    losses: list[list[float]]
    zero_gradients: list[list[float]]
    ratios: list[float]


def start(
    images: torch.Tensor, spec: AttackSpec, seed: int, image_ids: Sequence[str]
) -> torch.Tensor:
    """x_0: the clean images, or clean + U(-eps, eps) drawn from (seed, image id), in [0, 1]."""
    if spec.start == "clean":
        return images.clone()
    noise = torch.stack([image_noise(seed, i, tuple(images.shape[1:])) for i in image_ids])
    return (images + spec.eps * noise.to(images.device)).clamp(0, 1)


def transform(images: torch.Tensor, spec: AttackSpec, draw: float, divisor: int) -> Transformed:
    """What the model sees at this step."""
    if spec.transforms:
        return dynamic_scaling(images, spec.transforms[0], draw, divisor)
    return identity(images)


def accumulate(
    momentum: torch.Tensor | None, gradient: torch.Tensor, spec: AttackSpec
) -> torch.Tensor:
    """m = mu * m + g / mean|g|, the mean over each image; without momentum the gradient itself."""
    if spec.momentum is None:
        return gradient
    mean = gradient.abs().mean((1, 2, 3), keepdim=True)
    gradient = gradient / torch.where(mean > 0, mean, torch.ones_like(mean))
    return gradient if momentum is None else gradient.add_(momentum, alpha=spec.momentum.mu)


def bounds(images: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Lower and upper bound of clip_[0,1] clip_[x - eps, x + eps], which is one clamp."""
    return (images - eps).clamp(min=0), (images + eps).clamp(max=1)


def run(
    model: Segmenter | None,
    spec: AttackSpec,
    images: torch.Tensor,
    labels: torch.Tensor,
    image_ids: Sequence[str],
    *,
    seed: int,
    group: int,
) -> tuple[torch.Tensor, Health]:
    """Adversarial examples of ``images`` under ``spec``, in float, inside the box and the ball.

    ``images`` N x 3 x H x W in [0, 1], ``labels`` int64 N x H x W with 255 ignored, both on the
    model's device; all images belong to schedule ``group``. ``model`` may be None for an attack
    of zero steps. One forward and one backward a step.
    """
    adversarial = start(images, spec, seed, image_ids)
    health = Health([], [], [])
    if spec.steps and model is None:
        raise ValueError(f"attack '{spec.name}' has {spec.steps} steps and needs a source model")
    lower, upper = bounds(images, spec.eps)
    momentum: torch.Tensor | None = None
    for step in range(spec.steps):
        assert model is not None
        adversarial.requires_grad_(True)
        draw = schedule_draw(seed, group, step)
        seen = transform(adversarial, spec, draw, model.size_divisor)
        logits, aligned = seen.align(model(seen.images), labels)
        losses = LOSSES[spec.loss](logits, aligned)
        gradient = model.gradient(losses.sum(), adversarial)
        momentum = accumulate(momentum, gradient, spec)
        stepped = torch.add(adversarial.detach(), momentum.sign(), alpha=spec.step_size)
        adversarial = stepped.clamp_(lower, upper)
        health.losses.append(losses.detach().tolist())
        # |sign| counts eight times as fast as count_nonzero over dimensions.
        health.zero_gradients.append((1 - gradient.sign().abs_().mean((1, 2, 3))).tolist())
        health.ratios.append(seen.ratio)
    return adversarial.detach(), health
