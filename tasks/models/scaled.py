"""Test-time scale for any segmenter: resized images, differentiable."""

import torch
from typing_extensions import override

from segtransfer.tasks.attacks.transforms.views import HeightWidth, resize, snap
from segtransfer.tasks.models.base import Segmenter, WrappedSegmenter, freeze
from segtransfer.tasks.models.inference import Inference


class ScaledSegmenter(WrappedSegmenter):
    """A segmenter with images resized by ``scale``, and logits resized back.

    Both resizes are as in dynamic scaling, so PGD on this model is dynamic scaling at a fixed
    scale.
    """

    def __init__(self, inner: Segmenter, scale: float) -> None:
        super().__init__(inner)
        self.scale = scale

    @override
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        view = resize(images, self._seen(*images.shape[-2:]))
        logits = self.inner.checked_logits(view.images).float()
        return logits if self.classifier else view.logits(logits)

    @override
    def pixels_seen(self, height: int, width: int) -> int:
        return self.inner.pixels_seen(*self._seen(height, width))

    def _seen(self, height: int, width: int) -> HeightWidth:
        return snap(height, width, (self.scale, self.scale), self.size_divisor, self.least_side)


def apply(model: Segmenter, inference: Inference | None) -> Segmenter:
    """Return the model with the scale of ``inference``.

    Args:
        model: The model.
        inference: The spec of the inference; None for scale 1.

    Returns:
        The model itself for scale 1, else a ``ScaledSegmenter`` around it.
    """
    if inference is None or inference.scale == 1:
        return model
    return freeze(ScaledSegmenter(model, inference.scale))
