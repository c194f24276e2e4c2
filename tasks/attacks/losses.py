"""Losses of the attack loop: functions from logits and labels to a number per image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.preparation import Preparation
from segtransfer.tasks.labels import IGNORE_INDEX
from segtransfer.tasks.registry import Registry


@dataclass(frozen=True)
class LossContext:
    """The step at which a loss is evaluated, and the direction of the attack.

    Attributes:
        step: The step t, from 0 to ``steps`` - 1.
        steps: The number of steps T of the attack's spec.
        targeted: Whether the labels are a target to reach, and not the truth to leave.
        memory: Values kept by a loss between the steps of a run, per member of the source; empty
            at the first evaluation. Other evaluations of a step (views, neighbours) get it, too.
    """

    step: int
    steps: int
    targeted: bool = False
    memory: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def sign(self) -> int:
        """Return the factor of a distance to the labels in a loss, which the attack maximises.

        Returns:
            +1 for an untargeted attack (the distance grows), -1 for a targeted attack.
        """
        return -1 if self.targeted else 1


Loss: TypeAlias = "Callable[[torch.Tensor, torch.Tensor, LossContext], torch.Tensor]"

LOSSES: Registry[Loss] = Registry(
    "losses",
    (
        "segtransfer.tasks.attacks.losses",
        "segtransfer.tasks.attacks.pixel_weights",
        "segtransfer.tasks.attacks.features",
        "segtransfer.tasks.attacks.attribution",
    ),
    callable,
    "function",
)
# The traits of a loss, as its attributes.
READS_FEATURES = "__segtransfer_reads_features__"
PREPARED_BY = "__segtransfer_prepared_by__"
KEEPS_MEMORY = "__segtransfer_keeps_memory__"


def reads_features(loss: Loss) -> Loss:
    """Mark a loss whose inputs are features of an intermediate layer, not logits and labels.

    The spec's ``layer`` names the module whose output is read. Such a loss takes no ``target``.

        @reads_features
        def distance(features, clean, context):
            return (features - clean).square().mean((1, 2, 3))

    Args:
        loss: A function of three arguments: features of the iterate, float N x C x h x w; features
            of the clean image in the same view, float N x C x h x w, without gradient; and the
            ``LossContext``. It returns N losses, float, with a gradient to the first argument.

    Returns:
        The same function, marked.
    """
    setattr(loss, READS_FEATURES, True)
    return loss


@dataclass(frozen=True)
class Prepared:
    """The trait of a feature loss whose reference is computed once per run.

    Attributes:
        prepare: Returns the reference, float N x C x h x w.
        forwards: The number of forwards of ``prepare`` per image.
        first_loss: The loss of an attack that runs before, or None.
        draws: Whether the reference depends on random numbers.
    """

    prepare: Callable[[Preparation], torch.Tensor]
    forwards: int
    first_loss: str | None
    draws: bool


def prepared_by(
    prepare: Callable[[Preparation], torch.Tensor],
    *,
    forwards: int,
    first_loss: str | None = None,
    draws: bool = True,
) -> Callable[[Loss], Loss]:
    """Return a decorator of a feature loss whose reference is computed once per run.

    The loss gets the reference in the place of features of the clean image. The reference belongs
    to places of the clean image, so the spec refuses transforms of moved or resized content.

        def far_from(preparation):
            return preparation.features(1 - preparation.images)

        @prepared_by(far_from, forwards=1)
        @reads_features
        def towards_negative(features, reference, context):
            return -(features - reference).square().mean((1, 2, 3))

    Args:
        prepare: A function of a ``Preparation``, called per member of the source and per restart,
            before the first step. It returns the reference, float N x C x h x w.
        forwards: The number of forwards of ``prepare`` per image, 0 or more; plans and budgets
            count it.
        first_loss: The loss of an attack with the other fields of the spec, whose images are
            ``Preparation.attacked``. Default none.
        draws: Whether the reference depends on random numbers. Restarts need a part with this
            trait, or a random start. Default True.

    Returns:
        A decorator; it returns the same function, marked.
    """

    def marked(loss: Loss) -> Loss:
        setattr(loss, PREPARED_BY, Prepared(prepare, forwards, first_loss, draws))
        return loss

    return marked


def preparation_of(name: str, sha256: str | None) -> Prepared | None:
    """Return how the reference of a loss is prepared.

    Args:
        name: The name of the loss, shipped or ``module:attribute``.
        sha256: The hash of the loss's code; None for a shipped loss.

    Returns:
        The trait; None for a loss without, and if the code is missing or changed, as beside a
        stored spec.
    """
    prepared: Prepared | None = trait_of(name, sha256, PREPARED_BY)
    return prepared


def trait_of(name: str, sha256: str | None, trait: str) -> Any:
    """Return a trait of a loss.

    Args:
        name: The name of the loss, shipped or ``module:attribute``.
        sha256: The hash of the loss's code; None for a shipped loss.
        trait: The name of the attribute.

    Returns:
        The trait's value; None for a loss without the trait, and if the code is missing or changed.
    """
    try:
        return getattr(LOSSES.find(name, sha256), trait, None)
    except InputError:
        return None


def keeps_memory(loss: Loss) -> Loss:
    """Mark a loss with values per pixel in ``context.memory``.

    Every evaluation of such a loss must be on the labels' grid, so its spec refuses
    ``label_version: labels``.

    Args:
        loss: A function of logits, labels and the ``LossContext``.

    Returns:
        The same function, marked.
    """
    setattr(loss, KEEPS_MEMORY, True)
    return loss


def reads_clean_features(name: str, sha256: str | None) -> bool:
    """Tell whether a loss reads features of the clean image at every step.

    Args:
        name: The name of the loss, shipped or ``module:attribute``.
        sha256: The hash of the loss's code; None for a shipped loss.

    Returns:
        False for a loss with a prepared reference.
    """
    return is_feature_loss(name, sha256) and preparation_of(name, sha256) is None


def is_feature_loss(name: str, sha256: str | None) -> bool:
    """Tell whether a loss reads features of a layer.

    Args:
        name: The name of the loss, shipped or ``module:attribute``.
        sha256: The hash of the loss's code; None for a shipped loss.

    Returns:
        False also if the code is missing or changed, as beside a stored spec.
    """
    return bool(trait_of(name, sha256, READS_FEATURES))


@LOSSES.add("cross-entropy")
def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, context: LossContext) -> torch.Tensor:
    """Return the mean pixel cross-entropy CE over the labelled pixels of each image.

    An image without a labelled pixel has loss 0 and gradient 0, under every loss of labels.

    Args:
        logits: float N x K x H x W.
        labels: int64 N x H x W, 255 ignored.
        context: The step, and whether the labels are a target.

    Returns:
        N losses.
    """
    return context.sign * mean_labelled(_pixels(logits, labels), labels)


@LOSSES.add("masked-cross-entropy")
def masked_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, context: LossContext
) -> torch.Tensor:
    """Return the cross-entropy of pixels not fooled yet, divided by all labelled pixels.

    Pixels already fooled contribute neither loss nor gradient. Masked cross-entropy of SEA (Croce
    et al., ECCV 2024).

    Args:
        logits: float N x K x H x W.
        labels: int64 N x H x W, 255 ignored.
        context: The step, and whether the labels are a target.

    Returns:
        N losses.
    """
    resisting = ~fooled(logits, labels, context)
    return context.sign * mean_labelled(_pixels(logits, labels) * resisting, labels)


@LOSSES.add("segpgd")
def segpgd(logits: torch.Tensor, labels: torch.Tensor, context: LossContext) -> torch.Tensor:
    """Return the mean of (1 - l) CE on pixels not fooled yet and l CE on fooled pixels.

    Here l(t) = (t - 1) / 2T for t = 1 .. T, at most 0.5. Early steps fool more pixels, late steps
    keep fooled pixels fooled. SegPGD (Gu et al., ECCV 2022, eq. 4).

    Args:
        logits: float N x K x H x W.
        labels: int64 N x H x W, 255 ignored.
        context: The step, and whether the labels are a target.

    Returns:
        N losses.
    """
    share = min(context.step / (2 * max(context.steps, 1)), 0.5)
    weights = torch.where(fooled(logits, labels, context), share, 1 - share)
    return context.sign * mean_labelled(_pixels(logits, labels) * weights, labels)


@LOSSES.add("cospgd")
def cospgd(logits: torch.Tensor, labels: torch.Tensor, context: LossContext) -> torch.Tensor:
    """Return the mean of cos(softmax(z), onehot(y)) * CE over pixels, the weight detached.

    With a target the weight is 1 - cos. CosPGD (Agnihotri et al., ICML 2024).

    Args:
        logits: float N x K x H x W.
        labels: int64 N x H x W, 255 ignored.
        context: The step, and whether the labels are a target.

    Returns:
        N losses.
    """
    probabilities = logits.detach().softmax(1)
    own = probabilities.gather(1, _indices(labels)[:, None])[:, 0]
    cosine = own / probabilities.norm(dim=1)
    weights = 1 - cosine if context.targeted else cosine
    return context.sign * mean_labelled(_pixels(logits, labels) * weights, labels)


@LOSSES.add("js")
def jensen_shannon(
    logits: torch.Tensor, labels: torch.Tensor, context: LossContext
) -> torch.Tensor:
    """Return the Jensen-Shannon divergence of softmax(z) and onehot(y), from SEA (ECCV 2024).

    With p the probability of the label: (p log p + (1 - p) log 2 - (1 + p) log((1 + p) / 2)) / 2,
    because the mixture is (1 + p) / 2 at the label and half the softmax elsewhere. The divergence
    is bounded by log 2, so lost pixels contribute little gradient.

    Args:
        logits: float N x K x H x W.
        labels: int64 N x H x W, 255 ignored.
        context: The step, and whether the labels are a target.

    Returns:
        N losses.
    """
    log_p = logits.log_softmax(1).gather(1, _indices(labels)[:, None])[:, 0]
    p = log_p.exp()
    divergence = (p * log_p + (1 - p) * _LOG_2 - (1 + p) * (torch.log1p(p) - _LOG_2)) / 2
    return context.sign * mean_labelled(divergence, labels)


@LOSSES.add("mask-norm")
def masked_spherical(
    logits: torch.Tensor, labels: torch.Tensor, context: LossContext
) -> torch.Tensor:
    """Return -z_y / |z| over the pixels not fooled yet: ``mask-norm`` of SEA (ECCV 2024).

    Args:
        logits: float N x K x H x W.
        labels: int64 N x H x W, 255 ignored.
        context: The step, and whether the labels are a target.

    Returns:
        N losses.
    """
    unit = logits / logits.norm(dim=1, keepdim=True).clamp(min=1e-12)
    own = unit.gather(1, _indices(labels)[:, None])[:, 0]
    resisting = ~fooled(logits, labels, context)
    return -context.sign * mean_labelled(own * resisting, labels)


@LOSSES.add("cosine")
def cosine(logits: torch.Tensor, labels: torch.Tensor, context: LossContext) -> torch.Tensor:
    """Return the mean of 1 - z_y / |z|, the cosine distance of logits z and onehot(y).

    The loss of PAdam-Cos (Halmosi et al., ECCV 2024).

    Args:
        logits: float N x K x H x W.
        labels: int64 N x H x W, 255 ignored.
        context: The step, and whether the labels are a target.

    Returns:
        N losses.
    """
    unit = logits / logits.norm(dim=1, keepdim=True).clamp(min=1e-12)
    own = unit.gather(1, _indices(labels)[:, None])[:, 0]
    return context.sign * mean_labelled(1 - own, labels)


_LOG_2 = 0.6931471805599453


def mean_labelled(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean of a value over the labelled pixels of each image.

    Args:
        pixels: A value per pixel, float N x H x W. Values at ignored pixels must be finite; they
            are multiplied by 0.
        labels: int64 N x H x W; 255 (``IGNORE_INDEX``) marks ignored pixels.

    Returns:
        N means, float; 0 for an image without a labelled pixel.
    """
    counted = labels != IGNORE_INDEX
    return (pixels * counted).sum((1, 2)) / counted.sum((1, 2)).clamp(min=1)


def _pixels(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of each pixel, N x H x W; 0 for ignored pixels."""
    return torch.nn.functional.cross_entropy(
        logits, labels, ignore_index=IGNORE_INDEX, reduction="none"
    )


def _indices(labels: torch.Tensor) -> torch.Tensor:
    """Return labels as valid class indices; ignored pixels get class 0 and are never counted."""
    return torch.where(labels == IGNORE_INDEX, 0, labels)


def fooled(logits: torch.Tensor, labels: torch.Tensor, context: LossContext) -> torch.Tensor:
    """Return the mask of fooled pixels: predicted off the label, or on the target.

    Args:
        logits: float N x K x H x W; no gradient flows through the mask.
        labels: int64 N x H x W, the truth or the target.
        context: ``context.targeted`` tells whether the labels are a target.

    Returns:
        bool N x H x W. At ignored pixels (label 255) the value has no meaning.
    """
    agree = logits.detach().max(1).indices == labels
    return agree if context.targeted else ~agree
