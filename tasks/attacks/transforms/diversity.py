"""Input diversity: resize slightly, pad with zeros at a random place, and maybe resize back."""

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

    The paper's 299 -> 330 of classifiers is 1 -> 1.1. The transform applies with ``probability``,
    else the model gets the native image.
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
                "high is {high}, below low, {low}; images are resized to [low, high)",
                {"high": self.high, "low": self.low},
            )
        return self

    @property
    def relative_cost(self) -> float:
        """Return the mean area that the model gets, relative to the native area."""
        return self.probability * self.high**2 + 1 - self.probability

    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Apply DI or RDI, with the same draw for all images.

        Args:
            images: float N x 3 x H x W in [0, 1].
            context: The step's random numbers and the model's size divisor.

        Returns:
            The view; labels follow the content, and padded pixels are 255.
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

    The paper's 299 -> 340 of classifiers is 1 -> 1.137.
    """

    resizes: ClassVar[bool] = False

    kind: Literal["rdi"] = "rdi"  # type: ignore[assignment]
    high: Annotated[Number, Field(gt=0, le=4)] = 340 / 299
    probability: Annotated[Number, Field(ge=0, le=1)] = 1.0

    @property
    def relative_cost(self) -> float:
        """Return the area that the model gets, relative to the native area."""
        return 1.0
