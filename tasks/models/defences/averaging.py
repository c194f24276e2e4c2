"""Defences that average predictions over several views of an image: scales and mirroring.

The mean is of probabilities, softmax per pixel, as in the test-time augmentation of mmsegmentation
(``SegTTAModel``); logits of different views have no common scale. The defended model's logits are
the logarithm of the mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from pydantic import Field
from typing_extensions import override

from segtransfer.tasks.attacks.transforms.views import HeightWidth, resize, snap
from segtransfer.tasks.models.defences.base import DEFENCES, DefenceSpec
from segtransfer.tasks.schema import Number

if TYPE_CHECKING:
    from segtransfer.tasks.models.base import Segmenter

Scale = Annotated[Number, Field(gt=0, le=4)]


@DEFENCES.add("scales")
class MultiScale(DefenceSpec):
    """Multi-scale testing: the mean prediction over images resized by several factors.

    Images are resized bilinearly, as for ``inference.scale``; logits are resized back before the
    softmax.

    Attributes:
        kind: The name, ``scales``.
        scales: The factors of both sides, each in (0, 4], rounded to multiples of the network's
            size divisor. Default 0.75, 1 and 1.25.
    """

    short: ClassVar[str | None] = "scales"

    kind: Literal["scales"] = "scales"
    scales: Annotated[tuple[Scale, ...], Field(min_length=1)] = (0.75, 1.0, 1.25)

    @override
    def logits(self, images: torch.Tensor, model: Segmenter) -> torch.Tensor:
        sizes = self._sizes(images.shape[-2], images.shape[-1], model)
        views = (resize(images, size) for size in sizes)
        seen = ((view, model.checked_logits(view.images).float()) for view in views)
        # The logits of a whole image have no place in the image.
        return log_of_mean(z if model.classifier else view.logits(z) for view, z in seen)

    @override
    def pixels_seen(self, height: int, width: int, model: Segmenter) -> int:
        return sum(model.pixels_seen(*size) for size in self._sizes(height, width, model))

    def _sizes(self, height: int, width: int, model: Segmenter) -> list[HeightWidth]:
        divisor, least = model.size_divisor, model.least_side
        return [snap(height, width, (scale, scale), divisor, least) for scale in self.scales]


@DEFENCES.add("flip")
class FlipTesting(DefenceSpec):
    """Flip testing: the mean prediction over the image and its mirror image, left to right.

    Attributes:
        kind: The name, ``flip``.
    """

    kind: Literal["flip"] = "flip"

    @override
    def logits(self, images: torch.Tensor, model: Segmenter) -> torch.Tensor:
        mirrored = model.checked_logits(images.flip(-1)).float().flip(-1)
        return log_of_mean([model.checked_logits(images).float(), mirrored])

    @override
    def pixels_seen(self, height: int, width: int, model: Segmenter) -> int:
        return 2 * model.pixels_seen(height, width)


def log_of_mean(logits: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return the logarithm of the mean of probabilities.

    Args:
        logits: Logits of the same pixels, each float N x K x H x W.

    Returns:
        float N x K x H x W, whose softmax is the mean of the softmax of each.
    """
    each = torch.stack([one.log_softmax(1) for one in logits])
    return each.logsumexp(0) - math.log(len(each))
