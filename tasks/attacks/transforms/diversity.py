"""Input diversity: a slight resize, zero padding at a random place, perhaps a resize back."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.tasks.attacks.transforms.base import TRANSFORMS, TransformSpec
from segtransfer.tasks.attacks.transforms.views import (
    TransformContext,
    View,
    resize,
    snap,
    then,
    window,
)
from segtransfer.tasks.schema import Number


@TRANSFORMS.add("di")
class InputDiversity(TransformSpec):
    """DI (Xie et al., CVPR 2019): resize to a ratio from U[low, high), pad with zeros to ``high``.

    The paper's 299 -> 330 pixels are the ratios 1 -> 1.1. All images of a step share the draw.

    Attributes:
        kind: The name, ``di``.
        low: The smallest ratio of a side to its native length, in (0, 4]. Default 1.
        high: The largest ratio, and the ratio of the padded image, in (0, 4]; ``low`` or more.
            Default 1.1.
        probability: The probability of the transform per step, in [0, 1]; otherwise the model gets
            the native image. Default 0.5.
    """

    moves: ClassVar[bool] = True
    resizes: ClassVar[bool] = True

    kind: Literal["di"] = "di"
    low: Annotated[Number, Field(gt=0, le=4)] = 1.0
    high: Annotated[Number, Field(gt=0, le=4)] = 1.1
    probability: Annotated[Number, Field(ge=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _ordered(self) -> Any:
        if self.high < self.low:
            raise PydanticCustomError(
                "di",
                "high is {high}, below low, which is {low}; give a high of {low} or more",
                {"high": self.high, "low": self.low},
            )
        return self

    @property
    def relative_cost(self) -> float:
        """Return the mean area of a view relative to H W: p high^2 + 1 - p."""
        return self.probability * self.high**2 + 1 - self.probability

    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Apply DI or RDI, with the same draw for all images.

        Args:
            images: float N x 3 x H x W in [0, 1].
            context: The step's random numbers and the sizes that the model takes.

        Returns:
            The view; labels move with the content, and labels of padded pixels are 255.
        """
        random = context.random
        if random.number("diverse or not") >= self.probability:
            return View(images)
        height, width = images.shape[-2:]
        ratio = self.low + (self.high - self.low) * random.number("diversity")
        ratios = self.high, self.high
        canvas = snap(height, width, ratios, context.divisor, context.least)
        size = max(1, round(height * ratio)), max(1, round(width * ratio))
        size = min(size[0], canvas[0]), min(size[1], canvas[1])
        top = int(random.number("top") * (canvas[0] - size[0] + 1))
        left = int(random.number("left") * (canvas[1] - size[1] + 1))
        resized = resize(images, size)
        padded = then(resized, window(resized.images, canvas, top, left))
        if self.kind == "di":
            return padded
        return then(padded, resize(padded.images, (height, width)))


@TRANSFORMS.add("rdi")
class ResizedDiversity(InputDiversity):
    """RDI (Zou et al., ECCV 2020): as DI, then resized back, so content shrinks and shifts.

    In the public code RDI alone pads 299 pixels to 500, and an ensemble of five (DEM) pads to 340,
    380, 420, 460 and 500. The default is the smallest, as the ratio 1.137.

    Attributes:
        kind: The name, ``rdi``.
        low: The smallest ratio of a side to its native length, in (0, 4]. Default 1.
        high: The largest ratio, and the ratio of the padded image before the resize back, in
            (0, 4]; ``low`` or more. Default 340/299.
        probability: The probability of the transform per step, in [0, 1]. Default 1.
    """

    resizes: ClassVar[bool] = False

    kind: Literal["rdi"] = "rdi"  # type: ignore[assignment]
    high: Annotated[Number, Field(gt=0, le=4)] = 340 / 299
    probability: Annotated[Number, Field(ge=0, le=1)] = 1.0

    @property
    def relative_cost(self) -> float:
        """Return the area of a view relative to H W: 1, as images are resized back."""
        return 1.0
