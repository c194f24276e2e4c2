"""Losses of segmentation with a weight for each pixel's cross-entropy."""

from __future__ import annotations

import math

import torch

from segtransfer.tasks.attacks.losses import (
    LOSSES,
    LossContext,
    fooled,
    keeps_memory,
    mean_labelled,
)
from segtransfer.tasks.labels import IGNORE_INDEX

FIRST_Q, LAST_Q = -2.0, 1.0


@LOSSES.add("tsallis")
def tsallis(logits: torch.Tensor, labels: torch.Tensor, context: LossContext) -> torch.Tensor:
    """Return the mean Tsallis cross-entropy (1 - p^(1 - q)) / (1 - q), q from -2 to 1.

    Here p is the probability of the label and q(t) = -2 + 3 t / T for t = 0 .. T - 1. A pixel's
    gradient is that of its cross-entropy times p^(1 - q): early steps pull pixels with a likely
    label, late steps approach the cross-entropy (q = 1). TsallisPGD (Matyasko et al., arXiv
    2605.03405) and its code, which holds p at 1e-12 or more.

    Args:
        logits: float N x K x H x W.
        labels: int64 N x H x W, 255 ignored.
        context: The step t, the number of steps T, and whether the labels are a target.

    Returns:
        N losses.
    """
    power = 1 - FIRST_Q - (LAST_Q - FIRST_Q) * min(context.step / max(context.steps, 1), 1.0)
    entropy = torch.nn.functional.cross_entropy(
        logits, labels, ignore_index=IGNORE_INDEX, reduction="none"
    )
    pixels = -torch.expm1(-power * entropy) / power if power > 0 else entropy
    return context.sign * mean_labelled(pixels, labels)


@LOSSES.add("uncertainty")
def uncertainty(logits: torch.Tensor, labels: torch.Tensor, context: LossContext) -> torch.Tensor:
    """Return the mean of exp(H(p) / log K) * CE, H the entropy of the softmax p of each pixel.

    Pixels of uncertain class weigh up to e times as much. The gradient flows through the weight
    too, as in the authors' code. The loss L^E of Maag and Fischer, WACV 2024 (arXiv 2310.17436).

    Args:
        logits: float N x K x H x W.
        labels: int64 N x H x W, 255 ignored.
        context: Whether the labels are a target.

    Returns:
        N losses.
    """
    log_p = logits.log_softmax(1)
    entropy = -(log_p.exp() * log_p).sum(1) / math.log(max(logits.shape[1], 2))
    pixels = torch.nn.functional.nll_loss(
        log_p, labels, ignore_index=IGNORE_INDEX, reduction="none"
    )
    return context.sign * mean_labelled(entropy.exp() * pixels, labels)


@LOSSES.add("rp-region")
@keeps_memory
def regions(logits: torch.Tensor, labels: torch.Tensor, context: LossContext) -> torch.Tensor:
    """Return (1 - t / 2T) CE_T + (t - 1) / 2T CE_B + 1 / 2T CE_F, the region loss of RP-PGD.

    CE_R is the mean cross-entropy of a region: T, pixels never fooled; B, pixels fooled since the
    first step; F, pixels fooled at the start. A pixel of B or F stays there. t = 0 .. T - 1, as in
    the authors' code (Zhang et al., AAAI 2025). The rule of the code is this loss alone: its
    prototype loss reads detached features and has no gradient. Means are over the region
    of an image, in the code over the batch's.

    Args:
        logits: float N x K x H x W.
        labels: int64 N x H x W, 255 ignored.
        context: The step t, the number of steps T, whether the labels are a target, and the memory
            of pixels fooled at the start and later.

    Returns:
        N losses; a region without pixels counts as 0.
    """
    memory, won = context.memory, fooled(logits, labels, context)
    if "step" not in memory:
        memory.update(step=context.step, first=won, later=torch.zeros_like(won))
    if memory["step"] != context.step:  # other views and neighbours of a step change nothing
        memory["step"] = context.step
        memory["later"] = memory["later"] | (won & ~memory["first"])
    first, later, steps = memory["first"], memory["later"], 2 * max(context.steps, 1)
    pixels = torch.nn.functional.cross_entropy(
        logits, labels, ignore_index=IGNORE_INDEX, reduction="none"
    )
    counted = labels != IGNORE_INDEX
    regions_of_weight = (
        (1 - context.step / steps, ~first & ~later),
        ((context.step - 1) / steps, later),
        (1 / steps, first),
    )
    total = torch.zeros_like(pixels[:, 0, 0])
    for weight, region in regions_of_weight:
        part = region & counted
        total = total + weight * (pixels * part).sum((1, 2)) / part.sum((1, 2)).clamp(min=1)
    return context.sign * total
