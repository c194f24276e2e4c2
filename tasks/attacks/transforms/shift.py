"""A random translation: content moves as in scaled images, but keeps its size."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from segtransfer.tasks.attacks.transforms.base import TRANSFORMS, TransformSpec
from segtransfer.tasks.attacks.transforms.views import TransformContext, View, window
from segtransfer.tasks.schema import Number


@TRANSFORMS.add("shift")
class Shift(TransformSpec):
    """Translate images by a random number of pixels; all images of a step share the draw.

    Attributes:
        kind: The name, ``shift``.
        reach: The longest shift in each direction, a fraction of the side in (0, 1]. Default 0.1.
    """

    moves: ClassVar[bool] = True

    kind: Literal["shift"] = "shift"
    reach: Annotated[Number, Field(gt=0, le=1)] = 0.1

    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Translate the images; labels and logits move alike.

        Args:
            images: float N x 3 x H x W in [0, 1].
            context: The step's random numbers.

        Returns:
            The view of images N x 3 x H x W, 0 beyond the native border. Labels there are 255.
        """
        height, width = images.shape[-2:]

        def pixels(side: str, length: int) -> int:
            return round((2 * context.random.number(f"shift {side}") - 1) * self.reach * length)

        return window(images, (height, width), pixels("down", height), pixels("right", width))
