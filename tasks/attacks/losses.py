"""Losses of the attack loop: one number an image, to be maximised."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F

from segtransfer.errors import InputError
from segtransfer.tasks.labels import IGNORE_INDEX
from segtransfer.tasks.user_code import find_function, source_hash


@dataclass(frozen=True)
class LossContext:
    """When a loss is asked: ``step`` t in 0 .. ``steps`` - 1 of T, and whether labels are a
    target to reach instead of the truth to leave."""

    step: int
    steps: int
    targeted: bool = False

    @property
    def sign(self) -> int:
        """+1 where the distance to the labels is to grow, -1 where it is to shrink."""
        return -1 if self.targeted else 1


Loss = Callable[[torch.Tensor, torch.Tensor, LossContext], torch.Tensor]


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, context: LossContext) -> torch.Tensor:
    """Mean pixel cross-entropy over each image's labelled pixels.

    ``logits`` N x K x H x W, ``labels`` int64 N x H x W with 255 ignored; returns N numbers. An
    image without a labelled pixel has loss 0 and gradient 0. The same holds for every loss here.
    """
    return context.sign * mean_labelled(_pixels(logits, labels), labels)


def masked_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, context: LossContext
) -> torch.Tensor:
    """Cross-entropy of the pixels that are not fooled yet, over all labelled pixels.

    From SEA (Croce et al., ECCV 2024): pixels already fooled pull no gradient.
    """
    resisting = ~fooled(logits, labels, context)
    return context.sign * mean_labelled(_pixels(logits, labels) * resisting, labels)


def segpgd(logits: torch.Tensor, labels: torch.Tensor, context: LossContext) -> torch.Tensor:
    """(1 - l) CE on pixels not fooled yet + l CE on fooled ones, l(t) = (t - 1) / 2T, t = 1 .. T.

    SegPGD (Gu et al., ECCV 2022, eq. 4): early steps fool more pixels, late ones hold them.
    """
    share = min(context.step / (2 * max(context.steps, 1)), 0.5)
    weights = torch.where(fooled(logits, labels, context), share, 1 - share)
    return context.sign * mean_labelled(_pixels(logits, labels) * weights, labels)


def cospgd(logits: torch.Tensor, labels: torch.Tensor, context: LossContext) -> torch.Tensor:
    """Cross-entropy of each pixel weighted by cos(softmax(z), onehot(y)), the weight detached.

    CosPGD (Agnihotri et al., ICML 2024); with a target the weight is 1 - cos.
    """
    probabilities = logits.detach().softmax(1)
    own = probabilities.gather(1, _indices(labels)[:, None])[:, 0]
    cosine = own / probabilities.norm(dim=1)
    weights = 1 - cosine if context.targeted else cosine
    return context.sign * mean_labelled(_pixels(logits, labels) * weights, labels)


def jensen_shannon(
    logits: torch.Tensor, labels: torch.Tensor, context: LossContext
) -> torch.Tensor:
    """Jensen-Shannon divergence of softmax(z) and onehot(y), from SEA (Croce et al., ECCV 2024).

    With p the probability of the label: (p log p + (1 - p) log 2 - (1 + p) log((1 + p) / 2)) / 2,
    as the mixture is (1 + p) / 2 at the label and half the softmax elsewhere. Bounded by log 2, so
    pixels that are lost stop pulling.
    """
    log_p = logits.log_softmax(1).gather(1, _indices(labels)[:, None])[:, 0]
    p = log_p.exp()
    divergence = (p * log_p + (1 - p) * _LOG_2 - (1 + p) * (torch.log1p(p) - _LOG_2)) / 2
    return context.sign * mean_labelled(divergence, labels)


def masked_spherical(
    logits: torch.Tensor, labels: torch.Tensor, context: LossContext
) -> torch.Tensor:
    """-z_y / |z| over the pixels that are not fooled yet: ``mask-norm`` of SEA (ECCV 2024)."""
    unit = logits / logits.norm(dim=1, keepdim=True).clamp(min=1e-12)
    own = unit.gather(1, _indices(labels)[:, None])[:, 0]
    resisting = ~fooled(logits, labels, context)
    return -context.sign * mean_labelled(own * resisting, labels)


LOSSES: dict[str, Loss] = {
    "cross-entropy": cross_entropy,
    "masked-cross-entropy": masked_cross_entropy,
    "segpgd": segpgd,
    "cospgd": cospgd,
    "js": jensen_shannon,
    "mask-norm": masked_spherical,
}

_LOG_2 = 0.6931471805599453


@cache
def find_loss(name: str, sha256: str | None) -> Loss:
    """A loss of ``LOSSES``, or the function that ``package.module:function`` names.

    Looked up once, so that a file edited during a run does not stop it. Raises KeyError for an
    unknown name, InputError where a function of one's own is not found or its file has another
    sha256 than was planned.
    """
    if ":" not in name:
        return LOSSES[name]
    if source_hash(name) != sha256:
        raise InputError(f"the file of loss {name} is not the one that was planned")
    return find_function(name)


def mean_labelled(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over each image's labelled pixels, N x H x W -> N; 0 where there are none."""
    counted = labels != IGNORE_INDEX
    return (pixels * counted).sum((1, 2)) / counted.sum((1, 2)).clamp(min=1)


def _pixels(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none")


def _indices(labels: torch.Tensor) -> torch.Tensor:
    """Labels that can index classes; what stands at 255 is never counted."""
    return torch.where(labels == IGNORE_INDEX, 0, labels)


def fooled(logits: torch.Tensor, labels: torch.Tensor, context: LossContext) -> torch.Tensor:
    """Pixels that are where the attack wants them: off their label, or on their target."""
    agree = logits.detach().max(1).indices == labels
    return agree if context.targeted else ~agree
