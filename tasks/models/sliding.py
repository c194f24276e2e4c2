"""Sliding-window inference for any segmenter, differentiable, with windows placed as mmseg does."""

import torch
import torch.nn.functional as F

from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.spec import Inference


class SlidingSegmenter(Segmenter):
    """A segmenter that gets windows of ``crop``, ``stride`` apart (both height, width, in pixels).

    Logits are averaged where windows overlap. A window that would cross a border is moved inside.
    An image smaller than a window is processed whole.
    """

    def __init__(self, inner: Segmenter, crop: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__()
        self.inner = inner
        self.num_classes, self.size_divisor = inner.num_classes, inner.size_divisor
        if inner.feature_layer is not None:
            self.feature_layer = f"inner.{inner.feature_layer}"
        self.crop, self.stride = crop, stride

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        count = images.new_zeros(1, 1, height, width)
        total: torch.Tensor | None = None
        for top, bottom, left, right in windows(height, width, self.crop, self.stride):
            part = self.inner.logits(images[..., top:bottom, left:right])
            part = F.pad(part, (left, width - right, top, height - bottom))
            total = part if total is None else total + part
            count[..., top:bottom, left:right] += 1
        assert total is not None
        return total / count

    def pixels_seen(self, height: int, width: int) -> int:
        return sum(
            self.inner.pixels_seen(bottom - top, right - left)
            for top, bottom, left, right in windows(height, width, self.crop, self.stride)
        )


def with_windows(model: Segmenter, inference: Inference | None) -> Segmenter:
    """Return the model with the windows of ``inference``: itself, or behind sliding windows."""
    if inference is None or inference.window is None:
        return model
    return SlidingSegmenter(model, *inference.window)


def windows(
    height: int, width: int, crop: tuple[int, int], stride: tuple[int, int]
) -> list[tuple[int, int, int, int]]:
    """Return (top, bottom, left, right) of every window over an image, row by row, in pixels.

    Args:
        height: The height of the image.
        width: The width of the image.
        crop: Height and width of a window.
        stride: Rows and columns from one window to the next.
    """
    rows, columns = _spans(height, crop[0], stride[0]), _spans(width, crop[1], stride[1])
    return [(*row, *column) for row in rows for column in columns]


def _spans(length: int, crop: int, stride: int) -> list[tuple[int, int]]:
    steps = max(length - crop + stride - 1, 0) // stride
    ends = [min(step * stride + crop, length) for step in range(steps + 1)]
    return [(max(end - crop, 0), end) for end in ends]
