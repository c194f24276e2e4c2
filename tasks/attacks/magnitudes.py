"""Magnitudes of an image's values, and divisions by them."""

from __future__ import annotations

import torch


def over(values: torch.Tensor | float, divisor: torch.Tensor) -> torch.Tensor:
    """Return values / divisor, undivided at divisors of zero.

    Args:
        values: A number, or a tensor that broadcasts with the divisor.
        divisor: A tensor, 0 or more.

    Returns:
        A tensor of the broadcast shape.
    """
    return values / torch.where(divisor > 0, divisor, torch.ones_like(divisor))


def root_mean_square(values: torch.Tensor) -> torch.Tensor:
    """Return the root mean square of each image's values.

    Args:
        values: float N x C x H x W.

    Returns:
        float N x 1 x 1 x 1.
    """
    return values.square().mean((1, 2, 3), keepdim=True).sqrt()


def euclidean_norm(values: torch.Tensor) -> torch.Tensor:
    """Return the Euclidean norm of each image's values.

    Args:
        values: float N x C x H x W.

    Returns:
        float N x 1 x 1 x 1.
    """
    return values.square().sum((1, 2, 3), keepdim=True).sqrt()


def normalise(gradient: torch.Tensor) -> torch.Tensor:
    """Return g / mean|g|, with the mean over the values of each image.

    Args:
        gradient: g, float N x 3 x H x W.

    Returns:
        float N x 3 x H x W; a gradient of zeros stays zero.
    """
    return over(gradient, gradient.abs().mean((1, 2, 3), keepdim=True))
