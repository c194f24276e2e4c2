"""Sliding-window inference for any segmenter, differentiable, with mmseg's places of windows."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from typing_extensions import override

from segtransfer.tasks.models.base import Segmenter, WrappedSegmenter, freeze
from segtransfer.tasks.models.inference import Inference


class SlidingSegmenter(WrappedSegmenter):
    """A segmenter on windows of ``crop``, ``stride`` apart (both height, width, in pixels).

    Logits of overlapping windows are averaged. A window across a border is moved inside. An image
    smaller than a window is processed whole.
    """

    def __init__(self, inner: Segmenter, crop: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__(inner)
        self.crop, self.stride = crop, stride

    @override
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        spans = windows(height, width, self.crop, self.stride)
        return stitch(self.inner.checked_logits, images, spans, again=self.deterministic)

    @override
    def pixels_seen(self, height: int, width: int) -> int:
        return sum(
            self.inner.pixels_seen(bottom - top, right - left)
            for top, bottom, left, right in windows(height, width, self.crop, self.stride)
        )


def stitch(
    answer: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    spans: Sequence[tuple[int, int, int, int]],
    *,
    again: bool,
) -> torch.Tensor:
    """Return the logits of images by windows, averaged over the windows of each pixel.

    Args:
        answer: A function from a window N x 3 x h x w to its logits N x K x h x w.
        images: float N x 3 x H x W.
        spans: The windows, (top, bottom, left, right) in pixels, which cover the images.
        again: Whether the backward computes each window again, to the same bits, to hold the
            activations of a single window at a time. Only for networks without random numbers.

    Returns:
        Logits, float N x K x H x W.
    """
    height, width = images.shape[-2:]
    again = again and torch.is_grad_enabled() and images.requires_grad and len(spans) > 1
    count = images.new_zeros(1, 1, height, width)
    total: torch.Tensor | None = None
    for top, bottom, left, right in spans:
        seen = images[..., top:bottom, left:right]
        part = _recomputed(answer, seen) if again else answer(seen)
        part = F.pad(part, (left, width - right, top, height - bottom))
        total = part if total is None else total + part
        count[..., top:bottom, left:right] += 1
    assert total is not None
    return total / count


def _recomputed(answer: Callable[[torch.Tensor], torch.Tensor], seen: torch.Tensor) -> torch.Tensor:
    # Torch stops early by an exception, which our handlers of foreign errors would catch.
    with set_checkpoint_early_stop(False):
        return checkpoint(answer, seen, use_reentrant=False)


def with_windows(model: Segmenter, inference: Inference | None) -> Segmenter:
    """Return the model with the windows of ``inference``.

    Args:
        model: The model.
        inference: The spec of the inference; None for whole images.

    Returns:
        The model itself, or a ``SlidingSegmenter`` around it.
    """
    if inference is None or inference.window is None:
        return model
    return freeze(SlidingSegmenter(model, *inference.window))


def windows(
    height: int, width: int, crop: tuple[int, int], stride: tuple[int, int]
) -> list[tuple[int, int, int, int]]:
    """Return (top, bottom, left, right) of every window over an image, row by row, in pixels.

    Args:
        height: The height of the image.
        width: The width of the image.
        crop: Height and width of a window; smaller images get a smaller window.
        stride: Rows and columns between the starts of neighbouring windows.

    Returns:
        One window or more; the last of a row or column ends at the border.
    """
    rows, columns = _spans(height, crop[0], stride[0]), _spans(width, crop[1], stride[1])
    return [(*row, *column) for row in rows for column in columns]


def _spans(length: int, crop: int, stride: int) -> list[tuple[int, int]]:
    steps = max(length - crop + stride - 1, 0) // stride
    ends = [min(step * stride + crop, length) for step in range(steps + 1)]
    return [(max(end - crop, 0), end) for end in ends]
