"""The smallest 8-bit perturbation among iterates that fools 99 % of an image's pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.context import AttackContext
from segtransfer.tasks.attacks.losses import LossContext, fooled
from segtransfer.tasks.fooled import reached
from segtransfer.tasks.labels import IGNORE_INDEX

TRIED = 3  # norms per image whose candidate is scored once rounded, the smallest first
TOLERANCE = 1e-3  # 8-bit levels, of rounding errors in a perturbation


@dataclass(frozen=True)
class Fooled:
    """The fooled pixels of a batch of images.

    Attributes:
        pixels: bool N x h x w, True for fooled pixels; without meaning at ignored pixels.
        counts: The number of fooled labelled pixels, int64 N.
        reached: Whether 99 % of the labelled pixels are fooled, bool N.
    """

    pixels: torch.Tensor
    counts: torch.Tensor
    reached: torch.Tensor


@dataclass
class Candidates:
    """Iterates of a run, rounded to 8 bits, that may become an image's result.

    Attributes:
        by_norm: Per image, the fooled pixels and the image 3 x H x W by L-infinity norm in levels;
            at most ``TRIED`` norms, the smallest. Every iterate reached 99 % before rounding.
        closest: Per image, the fooled pixels and the image with most of them, while no iterate has
            reached 99 %.
    """

    by_norm: list[dict[int, tuple[int, torch.Tensor]]]
    closest: list[tuple[int, torch.Tensor]] = field(default_factory=list)


def begin(context: AttackContext) -> Candidates:
    """Return the candidates before the first iterate: the clean images, with no pixel fooled."""
    return Candidates([{} for _ in context.clean], [(-1, image) for image in context.clean])


def gradient_logits(context: AttackContext, x: torch.Tensor) -> torch.Tensor:
    """Return logits with a gradient to the images, at the size of the labels.

    An ensemble gives the weighted mean of its members' logits.

    Args:
        context: The model and the labels.
        x: float N x 3 x H x W in [0, 1], with ``requires_grad``.

    Returns:
        float N x K x h x w.

    Raises:
        InputError: If the logits have no gradient.
    """
    model = context.model
    logits = model(x)
    if not logits.requires_grad:
        raise InputError(
            f"{model.who} returned logits without a gradient to its images, so it cannot be a "
            "source; compute logits with torch, without no_grad and detach"
        )
    return model.at(logits, (context.labels.shape[-2], context.labels.shape[-1]))


def difference(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the difference of logits z_y - max_{k != y} z_k of each pixel.

    Args:
        logits: float N x K x h x w.
        labels: int64 N x h x w; pixels of 255 have a value without meaning.

    Returns:
        float N x h x w, below 0 if another class than y is predicted.
    """
    index = torch.where(labels == IGNORE_INDEX, 0, labels)[:, None]
    other = logits.scatter(1, index, -torch.inf).amax(1)
    return logits.gather(1, index)[:, 0] - other


def count_fooled(
    context: AttackContext, logits: torch.Tensor, rows: Sequence[int] | None = None
) -> Fooled:
    """Count the fooled pixels of images, and tell whether they are 99 % or more.

    Args:
        context: The labels, and whether they are a target.
        logits: float N x K x h x w, at the size of the labels.
        rows: The indices of the images among those of the context; None for all.
    """
    labels = context.labels if rows is None else context.labels[list(rows)]
    pixels = fooled(logits, labels, LossContext(0, 0, context.spec.target is not None))
    counted = labels != IGNORE_INDEX
    counts = (pixels & counted).sum((1, 2))
    return Fooled(pixels, counts, reached(counts, counted.sum((1, 2))))


def note(
    candidates: Candidates,
    context: AttackContext,
    x: torch.Tensor,
    counted: Fooled,
    rows: Sequence[int] | None = None,
) -> None:
    """Keep iterates that may become results: per image and norm, the one with most fooled pixels.

    Args:
        candidates: The candidates so far, changed in place.
        context: The clean images and the bounds.
        x: The iterates, float N x 3 x H x W.
        counted: Their fooled pixels.
        rows: The indices of the images among those of the context; None for all.
    """
    hits = zip(counted.counts.tolist(), counted.reached.tolist(), strict=True)
    for place, (count, hit) in enumerate(hits):
        row = place if rows is None else rows[place]
        kept = candidates.by_norm[row]
        if not hit and (kept or count < candidates.closest[row][0]):
            continue
        image = rounded(x[place], context.clean[row], 255 * context.spec.eps)
        if not hit:
            candidates.closest[row] = count, image
            continue
        norm = round(255 * float((image - context.clean[row]).abs().max()))
        if norm not in kept or count > kept[norm][0]:
            kept[norm] = count, image
        if len(kept) > TRIED:
            del kept[max(kept)]


def rounded(images: torch.Tensor, clean: torch.Tensor, bound: float) -> torch.Tensor:
    """Round images to 8-bit levels, away from the clean images.

    To the nearest level, values would lose what takes a pixel just over the border of a class.

    Args:
        images: float ... x 3 x H x W in [0, 1].
        clean: The clean images, of the same shape, multiples of 1/255.
        bound: The largest perturbation in levels.

    Returns:
        Multiples of 1/255, of the same shape.
    """
    delta = 255 * (images - clean)
    size = (delta.abs() - TOLERANCE).ceil().clamp(0, math.floor(bound + TOLERANCE))
    return ((255 * clean).round() + delta.sign() * size).clamp(0, 255) / 255


def settle(candidates: Candidates, context: AttackContext) -> torch.Tensor:
    """Return per image the candidate of the smallest norm that fools 99 % of the pixels in 8 bits.

    Costs a forward per candidate scored, at most ``TRIED`` per image. Without such a candidate, the
    image with most fooled pixels is returned.

    Args:
        candidates: The candidates of a run.
        context: The model, the labels and the clean images.

    Returns:
        float N x 3 x H x W, multiples of 1/255.
    """
    best = list(candidates.closest)
    waiting = [sorted(kept.items()) for kept in candidates.by_norm]
    for row, kept in enumerate(waiting):
        best[row] = (-1, kept[0][1][1]) if kept else best[row]
    for rank in range(TRIED):
        rows = [row for row, kept in enumerate(waiting) if rank < len(kept)]
        if not rows:
            break
        images = torch.stack([waiting[row][rank][1][1] for row in rows])
        counted = score(context, images, rows)
        hits = zip(rows, counted.counts.tolist(), counted.reached.tolist(), strict=True)
        for place, (row, count, hit) in enumerate(hits):
            if hit or count > best[row][0]:
                best[row] = count, images[place]
            if hit:
                waiting[row] = []
    return torch.stack([image for _, image in best])


def score(context: AttackContext, images: torch.Tensor, rows: Sequence[int]) -> Fooled:
    """Count the fooled pixels of images by a forward.

    Args:
        context: The model and the labels.
        images: float N x 3 x H x W in [0, 1].
        rows: The indices of the images among those of the context.
    """
    size = context.labels.shape[-2], context.labels.shape[-1]
    with torch.no_grad():
        logits = context.model.at(context.model(images), size)
        return count_fooled(context, logits, rows)
