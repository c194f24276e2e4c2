"""Losses of the attack loop: logits and labels -> one number an image, to be maximised."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

IGNORE = 255
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean pixel cross-entropy over each image's labelled pixels.

    ``logits`` N x K x H x W, ``labels`` int64 N x H x W with 255 ignored; returns N numbers. An
    image without a labelled pixel has loss 0 and gradient 0.
    """
    pixels = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    labelled = (labels != IGNORE).sum((1, 2)).clamp(min=1)
    return pixels.sum((1, 2)) / labelled


def masked_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the pixels that are still right, over all labelled pixels.

    Shapes as in ``cross_entropy``. From SEA (Croce et al., ECCV 2024): pixels already wrong
    pull no gradient.
    """
    right = (logits.detach().max(1).indices == labels) & (labels != IGNORE)
    pixels = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    labelled = (labels != IGNORE).sum((1, 2)).clamp(min=1)
    return (pixels * right).sum((1, 2)) / labelled


LOSSES: dict[str, Loss] = {
    "cross-entropy": cross_entropy,
    "masked-cross-entropy": masked_cross_entropy,
}
