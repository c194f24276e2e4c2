"""The gradient of a step: over copies of transforms, members of an ensemble, neighbours."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.components import Smoothing
from segtransfer.tasks.attacks.context import AttackContext
from segtransfer.tasks.attacks.gradient_rules.base import Gradient
from segtransfer.tasks.attacks.losses import LOSSES, LossContext
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms import copies, scale_numbers, views
from segtransfer.tasks.attacks.transforms.scaling import DynamicScaling
from segtransfer.tasks.attacks.transforms.views import TransformContext, View, align, then
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.outputs import foreign_error


def loss_gradient(
    context: AttackContext,
    x: torch.Tensor,
    random: StepRandom,
    loss_context: LossContext,
    members: Sequence[int] | None = None,
    first: Callable[[torch.Tensor], View] | None = None,
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
        members: The numbers of the ensemble's members to average, by their weights; None for all.
        first: A view of the images, made before the spec's transforms; None for the images.

    Returns:
        The gradient, with the weighted mean of the losses.

    Raises:
        InputError: If the model's logits or the loss have no gradient or a wrong shape.
    """
    model, spec = context.model, context.spec
    x = x.detach().requires_grad_(True)
    normalised = model.normalise_gradients or any(
        isinstance(t, DynamicScaling) and t.scales > 1 for t in spec.transforms
    )
    count = copies(spec.transforms)
    total: torch.Tensor | None = None
    losses, ratios = torch.zeros(len(x), device=x.device), []
    for number, weight in _chosen(model, members):
        sums: dict[int, torch.Tensor] = {}  # by scale
        gradients = _copies(context, number, x, random, loss_context, first)
        for scale, copy in zip(scale_numbers(spec.transforms), gradients, strict=True):
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


def _chosen(model: Segmenter, members: Sequence[int] | None) -> list[tuple[int, float]]:
    """Return numbers and weights of the chosen members; weights of some are scaled to sum 1."""
    weights = [weight for _, weight in model.members()]
    if members is None:
        return list(enumerate(weights))
    whole = sum(weights[number] for number in members)
    return [(number, weights[number] / whole) for number in members]


def _copies(
    context: AttackContext,
    number: int,
    x: torch.Tensor,
    random: StepRandom,
    loss_context: LossContext,
    first: Callable[[torch.Tensor], View] | None,
) -> Iterator[Gradient]:
    """Yield the gradient of each copy of the transforms on one member, the ``number``-th."""
    spec, member = context.spec, context.model.members()[number][0]
    own = replace(random, member=number) if context.model.own_scales else random
    shard = context.shard
    transform_context = TransformContext(
        context.model.size_divisor,
        own,
        shard.images,
        shard.image_ids,
        context.model.least_side,
    )
    untouched = _views(context.clean, spec, transform_context, first)
    for view in _views(x, spec, transform_context, first):
        if spec.reads_features:
            features = read_features(member, view.images, spec.layer)
            clean = _clean_features(context, number, untouched, moved=first is not None)
            loss = _loss(context, features, clean, loss_context)
        else:
            logits = member(view.images)
            if not logits.requires_grad:
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
        yield Gradient(member.gradient(loss.sum(), x), loss.detach(), [view.ratio])


def _views(
    images: torch.Tensor,
    spec: AttackSpec,
    context: TransformContext,
    first: Callable[[torch.Tensor], View] | None,
) -> Iterator[View]:
    """Yield the views of the spec's transforms, each after a first view if there is one."""
    if first is None:
        yield from views(images, spec.transforms, context)
        return
    start = first(images)
    for view in views(start.images, spec.transforms, context):
        yield then(start, view)


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
    if not loss.requires_grad:
        read = "features" if spec.reads_features else "logits"
        raise InputError(
            f"loss '{spec.loss}' has no gradient to the {read}; compute the loss from them with "
            "torch, without no_grad, detach and argmax"
        )
    return loss


@torch.no_grad()
def _clean_features(
    context: AttackContext, number: int, untouched: Iterator[View], *, moved: bool
) -> torch.Tensor:
    """Return a member's features of the clean images in the next view.

    Without transforms and moved images the features are computed once per micro-batch.
    """
    spec, cache = context.spec, context.clean_features
    if moved or spec.transforms or number not in cache:
        member = context.model.members()[number][0]
        features = read_features(member, next(untouched).images, spec.layer)
        if moved:
            return features
        cache[number] = features
    return cache[number]


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
    smoothed = F.conv2d(gradient, rows, padding=(half, 0), groups=channels)
    return F.conv2d(smoothed, columns, padding=(0, half), groups=channels)


def normalise(gradient: torch.Tensor) -> torch.Tensor:
    """Return g / mean|g|, with the mean over the values of each image.

    Args:
        gradient: g, float N x 3 x H x W.

    Returns:
        float N x 3 x H x W; a gradient of zeros stays zero.
    """
    mean = gradient.abs().mean((1, 2, 3), keepdim=True)
    return gradient / torch.where(mean > 0, mean, torch.ones_like(mean))


def read_features(model: Segmenter, images: torch.Tensor, layer: str | None) -> torch.Tensor:
    """Return the output of a module inside a model, and count the forward.

    Args:
        model: The source.
        images: float N x 3 x H x W in [0, 1].
        layer: The name of the module, or None for the model's ``feature_layer``.

    Returns:
        float32 N x C x h x w; the middle output of a module with several, such as a backbone's
        stages.

    Raises:
        InputError: If no module or several have the name, the module does not run exactly once, or
            its output is no such tensor.
    """
    with _record_outputs(model, layer) as outputs:
        model(images)
    if len(outputs) != 1:
        raise InputError(
            f"layer '{layer or model.feature_layer}' ran {len(outputs)} times per image, and a "
            "feature loss needs a single run; set inference: {mode: whole}, or name another module"
        )
    output = outputs[0]
    if isinstance(output, (list, tuple)):
        output = output[len(output) // 2]
    if not torch.is_tensor(output) or output.ndim != 4:
        raise InputError(
            f"the output of layer '{layer or model.feature_layer}' is no tensor N x C x h x w; "
            "name another module"
        )
    model.count_backward_of(output)
    return output.float()


@contextmanager
def _record_outputs(model: Segmenter, layer: str | None) -> Iterator[list[Any]]:
    """Collect the outputs of the named module while the context is open."""
    name = layer or model.feature_layer
    modules = dict(model.named_modules())
    # Users name modules of the network, which adapters and wrappers keep under a prefix.
    matches = [n for n in modules if n == name or n.endswith(f".{name}")]
    if name not in matches and len(matches) != 1:
        some = [n.removeprefix("network.").removeprefix("module.") for n in modules if n][1:9]
        named = f"{len(matches) or 'no'} modules named '{name}'" if name else "no known stage"
        raise InputError(
            f"a feature loss needs a layer, and {model.who} has {named}; "
            f"give layer, for example {', '.join(some)}"
        )
    outputs: list[Any] = []
    module = modules[name if name in matches else matches[0]]
    handle = module.register_forward_hook(lambda _m, _i, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()
