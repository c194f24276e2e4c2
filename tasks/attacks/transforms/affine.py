"""Views of images that are turned or shifted about their centre."""

from __future__ import annotations

import math
from functools import partial

import torch

from segtransfer.tasks.attacks.transforms.views import View
from segtransfer.tasks.labels import IGNORE_INDEX


def turned(
    images: torch.Tensor, *, degrees: float = 0.0, down: float = 0.0, right: float = 0.0
) -> View:
    """Return images turned about their centre, or shifted, on their own grid.

    Args:
        images: float N x 3 x H x W.
        degrees: The angle of the turn, counter-clockwise.
        down: The shift of the content, as a share of the height.
        right: The shift of the content, as a share of the width.

    Returns:
        A view of the same size, sampled bilinearly, with zeros beyond the image. Labels are sampled
        at the nearest pixel, 255 beyond the image; logits are sampled bilinearly on the way back.
    """
    there = partial(_sampled, turn=-math.radians(degrees), shift=(-right, -down))
    # Only one of turn and shift is used at a time, so the order of both does not matter.
    back = partial(_sampled, turn=math.radians(degrees), shift=(right, down))

    def labels(values: torch.Tensor) -> torch.Tensor:
        # Classes are counted from 1, because the padding of the sampling is 0.
        moved = there((values[:, None] + 1).float(), mode="nearest")[:, 0].long() - 1
        return torch.where(moved < 0, IGNORE_INDEX, moved)

    return View(there(images, mode="bilinear"), labels, partial(back, mode="bilinear"), whole=False)


def _sampled(
    values: torch.Tensor, *, turn: float, shift: tuple[float, float], mode: str
) -> torch.Tensor:
    """Sample N x C x H x W values on a grid turned about the centre, or shifted by shares."""
    height, width = values.shape[-2:]
    cosine, sine = math.cos(turn), math.sin(turn)
    # The grid's unit is half a side, so a turn of pixels mixes sides by their ratio.
    matrix = [
        [cosine, sine * height / width, 2 * shift[0]],
        [-sine * width / height, cosine, 2 * shift[1]],
    ]
    theta = torch.tensor(matrix, dtype=values.dtype, device=values.device)
    grid = torch.nn.functional.affine_grid(
        theta.expand(len(values), 2, 3), list(values.shape), align_corners=False
    )
    return torch.nn.functional.grid_sample(
        values, grid, mode=mode, padding_mode="zeros", align_corners=False
    )
