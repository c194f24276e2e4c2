"""The outcome of a run from a single start."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch


@dataclass
class Attempt:
    """A run from a single start: iterates, their cost, and the health as tensors.

    Attributes:
        iterates: The iterates returned, each float N x 3 x H x W within the box and the ball.
        pixels: The pixels processed by the model up to each iterate, all images together.
        losses: N losses per step, detached.
        zero_gradients: The share of zero gradient values per step, N numbers in [0, 1].
        not_a_number: Whether any value of the step was NaN, N booleans per step.
        ratios: The realised scales per step and copy; empty lists without transforms.
    """

    iterates: list[torch.Tensor] = field(default_factory=list)
    pixels: list[int] = field(default_factory=list)
    losses: list[torch.Tensor] = field(default_factory=list)
    zero_gradients: list[torch.Tensor] = field(default_factory=list)
    not_a_number: list[torch.Tensor] = field(default_factory=list)
    ratios: list[list[float]] = field(default_factory=list)
