"""BPDA: the backward of steps without a useful gradient."""

from typing import Any

import torch


def straight_through(images: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
    """Return changed images whose backward is the identity.

    Attacks on a defence without a useful gradient need a replacement, or they measure the lack of a
    gradient in place of robustness. BPDA (Athalye, Carlini and Wagner, ICML 2018) takes the
    gradient of a similar function; for a defence g(x) close to x, this is the identity.

    Args:
        images: The images before the defence, float N x 3 x H x W.
        changed: The images after the defence, float N x 3 x H x W, without a gradient.

    Returns:
        The values of ``changed``, with the gradient of ``images``.
    """
    replaced: torch.Tensor = _StraightThrough.apply(images, changed)
    return replaced


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
        return changed.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None
