"""Random resize and padding as a defence."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import override

from segtransfer.tasks.attacks.transforms.views import (
    HeightWidth,
    View,
    resize,
    snap,
    then,
    window,
)
from segtransfer.tasks.models.defences.base import DEFENCES, DefenceSpec
from segtransfer.tasks.randomness import uniform
from segtransfer.tasks.schema import Number

if TYPE_CHECKING:
    from segtransfer.tasks.models.base import Segmenter

PADDING = 0.5  # grey


@DEFENCES.add("resize-pad")
class ResizePad(DefenceSpec):
    """Resize and pad (Xie et al., ICLR 2018): resize to a ratio from U[low, high), pad with grey.

    The image is at a random place of a canvas of ratio ``high``. The paper's 299 -> 331 pixels are
    the ratios 1 -> 1.107, and its zeros, of inputs in [-1, 1], are grey 0.5. The draws are a hash
    of the image's 8-bit pixels. So a model has the same logits for the same image in every batch,
    and each step of an attack meets another draw. Logits of the padding are cut, the others resized
    back.

    Attributes:
        kind: The name, ``resize-pad``.
        low: The smallest ratio of a side to its native length, in (0, 4]. Default 1.
        high: The largest ratio, and the ratio of the canvas, in (0, 4]; ``low`` or more. Default
            331/299.
    """

    kind: Literal["resize-pad"] = "resize-pad"
    low: Annotated[Number, Field(gt=0, le=4)] = 1.0
    high: Annotated[Number, Field(gt=0, le=4)] = 331 / 299

    @model_validator(mode="after")
    def _ordered(self) -> Any:
        if self.high < self.low:
            raise PydanticCustomError(
                "resize_pad",
                "high is {high}, below low, which is {low}; give a high of {low} or more",
                {"high": f"{self.high:g}", "low": f"{self.low:g}"},
            )
        return self

    @override
    def logits(self, images: torch.Tensor, model: Segmenter) -> torch.Tensor:
        canvas = self._canvas(images.shape[-2], images.shape[-1], model)
        views = [self._placed(image[None], canvas) for image in images]
        seen = model.checked_logits(torch.cat([view.images for view in views])).float()
        if model.classifier:
            return seen
        return torch.cat([v.logits(seen[i : i + 1]) for i, v in enumerate(views)])

    @override
    def pixels_seen(self, height: int, width: int, model: Segmenter) -> int:
        return model.pixels_seen(*self._canvas(height, width, model))

    def _canvas(self, height: int, width: int, model: Segmenter) -> HeightWidth:
        ratios = self.high, self.high
        return snap(height, width, ratios, model.size_divisor, model.least_side)

    def _placed(self, image: torch.Tensor, canvas: HeightWidth) -> View:
        """Return the view of an image, 1 x 3 x H x W, on its canvas."""
        levels = (image.detach() * 255).round().clamp(0, 255).to(torch.uint8)
        content = hashlib.sha256(levels.cpu().numpy().tobytes()).hexdigest()
        height, width = image.shape[-2:]
        ratio = self.low + (self.high - self.low) * uniform("resize-pad ratio", content)
        size = (
            min(max(1, round(height * ratio)), canvas[0]),
            min(max(1, round(width * ratio)), canvas[1]),
        )
        top = int(uniform("resize-pad top", content) * (canvas[0] - size[0] + 1))
        left = int(uniform("resize-pad left", content) * (canvas[1] - size[1] + 1))
        resized = resize(image, size)
        placed = then(resized, window(resized.images - PADDING, canvas, top, left))
        return replace(placed, images=placed.images + PADDING)
