"""The gradient of a step: over copies of transforms, members of an ensemble, neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.components import Smoothing
from segtransfer.tasks.attacks.context import AttackContext
from segtransfer.tasks.attacks.gradient_rules.base import Gradient
from segtransfer.tasks.attacks.layers import read_features
from segtransfer.tasks.attacks.losses import LOSSES, LossContext
from segtransfer.tasks.attacks.magnitudes import normalise
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms import copies, scale_numbers, views
from segtransfer.tasks.attacks.transforms.scaling import DynamicScaling
from segtransfer.tasks.attacks.transforms.views import TransformContext, View, align
from segtransfer.tasks.models.outputs import foreign_error

if TYPE_CHECKING:
    from segtransfer.tasks.models.base import Segmenter


def loss_gradient(
    context: AttackContext,
    x: torch.Tensor,
    random: StepRandom,
    loss_context: LossContext,
    members: Sequence[int] | None = None,
    first: Callable[[torch.Tensor], View] = View,
    weights: torch.Tensor | None = None,
) -> Gradient:
    """Return d loss / d x, averaged over all copies of the transforms and members of the model.

    With several scales per step, or an ensemble with ``average: gradients``, the copies of each
    member and scale are summed first, and each sum is divided by its mean magnitude. Copies of
    other transforms thus keep their relative weights. Each copy costs a forward and a backward.

    Args:
        context: The images, the labels and the model.
        x: The iterate, float N x 3 x H x W.
        random: The random numbers of this step.
        loss_context: The step and the direction, for the loss.
        members: The numbers of the ensemble's members to average by weight; None for the ensemble.
        first: A view of the images, made before the spec's transforms; by default the images.
        weights: A weight per image and member in place of the ensemble's, float N x members.

    Returns:
        The gradient, with the weighted mean of the losses.

    Raises:
        InputError: If the model's logits or the loss have no gradient or a wrong shape.
    """
    model, spec = context.model, context.spec
    x = x.detach().requires_grad_(True)
    normalised, count = _is_normalised(context), copies(spec.transforms)
    total, watched = None, None
    losses, ratios = x.new_zeros(len(x)), list[float]()
    with model.weighted(weights):
        for number, member, weight in _chosen(model, members, weights):
            own = _own(context, random, number)
            sums, found = _sums(context, member, x, own, loss_context, first)
            losses += found.losses * (weight / count)
            ratios += found.ratios
            if found.watched is not None:
                looked = _scaled(found.watched, weight / count)
                watched = looked if watched is None else watched + looked
            share = weight / (len(sums) if normalised else count)
            for part in sums:
                part = _scaled(normalise(part) if normalised else part, share)
                total = part if total is None else total.add_(part)
    assert total is not None
    return Gradient(total, losses, ratios, watched)


def _is_normalised(context: AttackContext) -> bool:
    """Tell whether the sum of each member and scale is divided by its mean magnitude."""
    return context.model.normalise_gradients or any(
        isinstance(t, DynamicScaling) and t.scales > 1 for t in context.spec.transforms
    )


def _sums(
    context: AttackContext,
    member: Segmenter,
    x: torch.Tensor,
    random: StepRandom,
    loss_context: LossContext,
    first: Callable[[torch.Tensor], View],
) -> tuple[list[torch.Tensor], _Looks]:
    """Return a member's gradients summed per scale, and what its copies showed."""
    sums: dict[int, torch.Tensor] = {}
    found = _Looks(x.new_zeros(len(x)), [])
    made = _losses(context, member, x, random, loss_context, first)
    for scale, (loss, ratio, watched) in zip(
        scale_numbers(context.spec.transforms), made, strict=True
    ):
        gradient = member.gradient(loss.sum(), x)
        sums[scale] = sums[scale].add_(gradient) if scale in sums else gradient
        found.losses += loss.detach()
        found.ratios.append(ratio)
        if watched is not None:
            found.watched = watched if found.watched is None else found.watched + watched
    return list(sums.values()), found


@dataclass
class _Looks:
    """Sums over a member's copies: N losses and N x k watched numbers; and realised scales."""

    losses: torch.Tensor
    ratios: list[float]
    watched: torch.Tensor | None = None


def loss_values(
    context: AttackContext,
    x: torch.Tensor,
    random: StepRandom,
    loss_context: LossContext,
    members: Sequence[int] | None = None,
) -> torch.Tensor:
    """Return the loss without a gradient, averaged over all copies of the transforms and members.

    Args:
        context: The images, the labels and the model.
        x: The iterate, float N x 3 x H x W.
        random: The random numbers of this step.
        loss_context: The step and the direction, for the loss.
        members: The numbers of the ensemble's members to average; None for the ensemble.

    Returns:
        N losses. Each copy costs a forward.
    """
    losses, count = x.new_zeros(len(x)), copies(context.spec.transforms)
    with torch.no_grad():
        for number, member, weight in _chosen(context.model, members, None):
            own = _own(context, random, number)
            for loss, _, _ in _losses(context, member, x, own, loss_context, View):
                losses += loss * (weight / count)
    return losses


def _chosen(
    model: Segmenter, members: Sequence[int] | None, weights: torch.Tensor | None
) -> list[tuple[int, Segmenter, float | torch.Tensor]]:
    """Return number, model and weight of each model to differentiate, as in ``loss_gradient``."""
    if members is None:
        whole = model.members()
        if weights is None or len(whole) == 1:  # averaged logits have their weights inside
            return [(number, member, weight) for number, (member, weight) in enumerate(whole)]
        return [(number, member, weights[:, number]) for number, (member, _) in enumerate(whole)]
    every = model.all_members()
    total = sum(every[number][1] for number in members)
    return [(number, every[number][0], every[number][1] / total) for number in members]


def _scaled(part: torch.Tensor, share: float | torch.Tensor) -> torch.Tensor:
    """Return values of N images times their share, a number or a number per image."""
    if torch.is_tensor(share):
        return part * share.view(-1, *[1] * (part.ndim - 1))
    return part if share == 1 else part * share


def _own(context: AttackContext, random: StepRandom, number: int) -> StepRandom:
    """Return the random numbers of a member: the step's, or its own."""
    return replace(random, member=number) if context.model.own_scales else random


def _losses(
    context: AttackContext,
    member: Segmenter,
    x: torch.Tensor,
    random: StepRandom,
    loss_context: LossContext,
    first: Callable[[torch.Tensor], View],
) -> Iterator[tuple[torch.Tensor, float, torch.Tensor | None]]:
    """Yield N losses, the realised scale and the context's watched numbers per copy on a member."""
    spec, shard = context.spec, context.shard
    transform_context = TransformContext(
        context.model.size_divisor,
        random,
        shard.images,
        shard.image_ids,
        context.model.least_side,
    )
    loss_context = replace(loss_context, memory=context.memories.setdefault(member, {}))
    untouched = views(context.clean, spec.transforms, transform_context, first)
    for view in views(x, spec.transforms, transform_context, first):
        watched = None
        if spec.reads_features:
            features = read_features(member, view.images, spec.layer)
            reference = context.references.get(member)
            if reference is None:
                moved = first is not View
                reference = _clean_features(context, member, untouched, moved=moved)
            loss = _loss(context, features, reference, loss_context)
        else:
            logits = member(view.images)
            if torch.is_grad_enabled() and not logits.requires_grad:
                raise InputError(
                    f"{member.who} returned logits without a gradient to its images, so it cannot "
                    "be a source; compute logits with torch, without no_grad and detach"
                )
            aligned = align(
                view,
                logits,
                context.labels,
                spec.label_version,
                grid=(x.shape[-2], x.shape[-1]),
                at=member.at,
            )
            loss = _loss(context, *aligned, loss_context)
            watched = context.watch(*aligned, loss_context) if context.watch else None
        yield loss, view.ratio, watched


def _loss(
    context: AttackContext, seen: torch.Tensor, reference: torch.Tensor, loss_context: LossContext
) -> torch.Tensor:
    """Return the spec's loss, N numbers with a gradient.

    Args:
        context: The spec.
        seen: Logits, or features of the iterate.
        reference: Labels, or features of the clean image.
        loss_context: The step and the direction.

    Raises:
        InputError: If a user's loss raises an error, or returns anything else.
    """
    spec = context.spec
    try:
        loss = LOSSES.find(spec.loss, spec.loss_sha256)(seen, reference, loss_context)
    except Exception as error:  # foreign code may raise anything
        told = foreign_error(error, f"loss '{spec.loss}'")
        if told is error:
            raise
        raise told from error
    if not torch.is_tensor(loss) or not loss.is_floating_point() or loss.shape != seen.shape[:1]:
        found = f"{list(loss.shape)} of {loss.dtype}" if torch.is_tensor(loss) else repr(loss)
        raise InputError(
            f"loss '{spec.loss}' returned {found} for {len(seen)} images; "
            f"return a floating-point tensor of shape [{len(seen)}], a loss per image"
        )
    if torch.is_grad_enabled() and not loss.requires_grad:
        read = "features" if spec.reads_features else "logits"
        raise InputError(
            f"loss '{spec.loss}' has no gradient to the {read}; compute the loss from them with "
            "torch, without no_grad, detach and argmax"
        )
    return loss


def _clean_features(
    context: AttackContext, member: Segmenter, untouched: Iterator[View], *, moved: bool
) -> torch.Tensor:
    """Return a member's features of the clean images in the next view.

    Without transforms and moved images the features are computed once per micro-batch.
    """
    spec, cache = context.spec, context.clean_features
    if moved or spec.transforms or member not in cache:
        with torch.no_grad():
            features = read_features(member, next(untouched).images, spec.layer)
        if moved:
            return features
        cache[member] = features
    return cache[member]


def reduce_variance(
    context: AttackContext,
    x: torch.Tensor,
    gradient: Gradient,
    random: StepRandom,
    loss_context: LossContext,
) -> torch.Tensor:
    """Return v, the mean gradient at ``neighbours`` points x + U(-b eps, b eps), less g.

    VT (Wang and He, CVPR 2021).

    Args:
        context: The images, the model and the spec with its ``variance``.
        x: The iterate, float N x 3 x H x W.
        gradient: The gradient g at ``x``.
        random: The random numbers of this step; all neighbours get the scales of ``x``.
        loss_context: The step and the direction, for the loss.

    Returns:
        v, float N x 3 x H x W.
    """
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
    """Return the convolution W * g with a Gaussian of sum 1, zero beyond the border.

    TI (Dong et al., CVPR 2019).

    Args:
        gradient: g, float N x 3 x H x W.
        smoothing: The kernel W, or None for g itself.

    Returns:
        float N x 3 x H x W.
    """
    if smoothing is None:
        return gradient
    grid = torch.linspace(-smoothing.sigmas, smoothing.sigmas, smoothing.kernel)
    # linspace of a single point would start at -sigmas; a kernel of width 1 is the identity.
    weights = torch.exp(-(grid**2) / 2) if smoothing.kernel > 1 else torch.ones(1)
    weights = (weights / weights.sum()).to(gradient)
    channels, half = gradient.shape[1], smoothing.kernel // 2
    rows = weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    columns = weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    smoothed = torch.nn.functional.conv2d(gradient, rows, padding=(half, 0), groups=channels)
    return torch.nn.functional.conv2d(smoothed, columns, padding=(0, half), groups=channels)
