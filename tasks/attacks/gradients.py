"""The gradient of one step: over copies of the transforms, members of an ensemble, neighbours."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.components import Smoothing
from segtransfer.tasks.attacks.context import AttackContext
from segtransfer.tasks.attacks.features import FEATURE_LOSSES
from segtransfer.tasks.attacks.losses import LossContext, find_loss
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms import copies, scale_numbers, views
from segtransfer.tasks.attacks.transforms.scaling import DynamicScaling
from segtransfer.tasks.attacks.transforms.views import TransformContext, View, align
from segtransfer.tasks.models.base import Segmenter


@dataclass(frozen=True)
class Gradient:
    """A gradient N x 3 x H x W, the N losses it rises from, and the realised scale ratios."""

    values: torch.Tensor
    losses: torch.Tensor
    ratios: list[float]


def loss_gradient(
    context: AttackContext, x: torch.Tensor, random: StepRandom, loss_context: LossContext
) -> Gradient:
    """d loss / d x, averaged over every copy of the transforms and every member of the model.

    Where several scales a step, or an ensemble that averages gradients, ask for it, the copies of
    each member and scale are summed first, and the sum is divided by its mean magnitude: so copies
    weigh as without it. One forward and one backward a copy.
    """
    model, spec = context.model, context.spec
    x = x.detach().requires_grad_(True)
    normalised = model.normalise_gradients or any(
        isinstance(t, DynamicScaling) and t.scales > 1 for t in spec.transforms
    )
    members, count = model.members(), copies(spec.transforms)
    total: torch.Tensor | None = None
    losses, ratios = torch.zeros(len(x), device=x.device), []
    for number, (member, weight) in enumerate(members):
        sums: dict[int, torch.Tensor] = {}  # by scale
        found = _copies(context, number, member, x, random, loss_context)
        for scale, copy in zip(scale_numbers(spec.transforms), found, strict=True):
            sums[scale] = sums[scale].add_(copy.values) if scale in sums else copy.values
            losses += copy.losses * (weight / count)
            ratios += copy.ratios
        share = weight / (len(sums) if normalised else count)
        for part in sums.values():
            part = normalise(part) if normalised else part
            part = part if share == 1 else part * share
            total = part if total is None else total.add_(part)
    assert total is not None
    return Gradient(total, losses, ratios)


def _copies(
    context: AttackContext,
    number: int,
    member: Segmenter,
    x: torch.Tensor,
    random: StepRandom,
    loss_context: LossContext,
) -> Iterator[Gradient]:
    """The gradient of each copy of the transforms on one member, the ``number``-th."""
    spec = context.spec
    own = replace(random, member=number) if context.model.own_scales else random
    shard = context.shard
    transform_context = TransformContext(
        context.model.size_divisor, own, shard.images, shard.image_ids
    )
    untouched = views(context.clean, spec.transforms, transform_context)
    for view in views(x, spec.transforms, transform_context):
        if spec.loss in FEATURE_LOSSES:
            features = read_features(member, view.images, spec.layer)
            clean = _clean_features(context, number, untouched)
            loss = FEATURE_LOSSES[spec.loss](features, clean, loss_context)
        else:
            logits = member(view.images)
            aligned = align(view, logits, context.labels, spec.label_version)
            loss = find_loss(spec.loss, spec.loss_sha256)(*aligned, loss_context)
        if loss.shape != (len(x),):
            raise InputError(
                f"loss '{spec.loss}' returned {list(loss.shape)} for {len(x)} images; "
                "it must return one number an image"
            )
        yield Gradient(member.gradient(loss.sum(), x), loss.detach(), [view.ratio])


@torch.no_grad()
def _clean_features(context: AttackContext, number: int, untouched: Iterator[View]) -> torch.Tensor:
    """A member's features of the clean images in the next view; without transforms read once."""
    spec, known = context.spec, context.clean_features
    if spec.transforms or number not in known:
        member = context.model.members()[number][0]
        known[number] = read_features(member, next(untouched).images, spec.layer)
    return known[number]


def reduce_variance(
    context: AttackContext,
    x: torch.Tensor,
    gradient: Gradient,
    random: StepRandom,
    loss_context: LossContext,
) -> torch.Tensor:
    """v = mean of the gradients at ``neighbours`` points x + U(-b eps, b eps), less g."""
    variance = context.spec.variance
    assert variance is not None
    radius = variance.bound * context.spec.eps
    total = torch.zeros_like(gradient.values)
    for neighbour in range(variance.neighbours):
        noise = random.neighbour_noise(neighbour, tuple(x.shape[1:]), x.device)
        moved = radius * (noise if context.region is None else noise * context.region)
        total += loss_gradient(context, x + moved, random, loss_context).values
    return total / variance.neighbours - gradient.values


def smooth(gradient: torch.Tensor, smoothing: Smoothing | None) -> torch.Tensor:
    """W * g with a Gaussian W of sum one, zeros beyond the border."""
    if smoothing is None:
        return gradient
    grid = torch.linspace(-smoothing.sigmas, smoothing.sigmas, smoothing.kernel)
    # One pixel is the identity, whatever its place on the curve.
    weights = torch.exp(-(grid**2) / 2) if smoothing.kernel > 1 else torch.ones(1)
    weights = (weights / weights.sum()).to(gradient)
    channels, half = gradient.shape[1], smoothing.kernel // 2
    rows = weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    columns = weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    smoothed = F.conv2d(gradient, rows, padding=(half, 0), groups=channels)
    return F.conv2d(smoothed, columns, padding=(0, half), groups=channels)


def normalise(gradient: torch.Tensor) -> torch.Tensor:
    """g / mean|g|, the mean over each image; a zero gradient stays."""
    mean = gradient.abs().mean((1, 2, 3), keepdim=True)
    return gradient / torch.where(mean > 0, mean, torch.ones_like(mean))


def read_features(model: Segmenter, images: torch.Tensor, layer: str | None) -> torch.Tensor:
    """What a module inside ``model`` puts out for ``images``: N x C x h x w.

    Of a backbone's several stages the middle one. Raises InputError where there is no such module
    or it puts out no such tensor.
    """
    with _tap(model, layer) as outputs:
        model(images)
    if len(outputs) != 1:
        raise InputError(
            f"layer '{layer or model.feature_layer}' ran {len(outputs)} times for one image, and a "
            "feature loss needs one; use whole-image inference, or name another module"
        )
    output = outputs[0]
    if isinstance(output, (list, tuple)):
        output = output[len(output) // 2]
    if not torch.is_tensor(output) or output.ndim != 4:
        raise InputError(
            f"layer '{layer or model.feature_layer}' puts out no N x C x h x w features; "
            "name another module"
        )
    model.count_backward_of(output)
    return output.float()


@contextmanager
def _tap(model: Segmenter, layer: str | None) -> Iterator[list[Any]]:
    name = layer or model.feature_layer
    modules = dict(model.named_modules())
    # A user names a module of the network; adapters and wrappers hold it under a prefix.
    found = [n for n in modules if n == name or n.endswith(f".{name}")]
    if name not in found and len(found) != 1:
        some = [n.removeprefix("network.").removeprefix("module.") for n in modules if n][1:9]
        named = f"{len(found) or 'no'} modules named '{name}'" if name else "no known stage"
        raise InputError(
            f"a feature loss needs a layer, and this model has {named}; "
            f"give layer, such as {', '.join(some)}"
        )
    outputs: list[Any] = []
    module = modules[name if name in found else found[0]]
    handle = module.register_forward_hook(lambda _m, _i, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()
