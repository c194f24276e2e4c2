"""A random mirror image: the mildest transform that moves content."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from segtransfer.tasks.attacks.transforms.base import TRANSFORMS, TransformSpec
from segtransfer.tasks.attacks.transforms.views import TransformContext, View
from segtransfer.tasks.schema import Number


@TRANSFORMS.add("flip")
class Flip(TransformSpec):
    """Mirror images left to right with a probability; all images of a step share the draw.

    Attributes:
        kind: The name, ``flip``.
        probability: The probability of the mirror image per step, in [0, 1]; otherwise the model
            gets the native image. Default 0.5.
    """

    moves: ClassVar[bool] = True

    kind: Literal["flip"] = "flip"
    probability: Annotated[Number, Field(ge=0, le=1)] = 0.5

    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Mirror the images; labels and logits are mirrored alike.

        Args:
            images: float N x 3 x H x W in [0, 1].
            context: The step's random numbers.

        Returns:
            The view, or the native images.
        """
        if context.random.number("flip") >= self.probability:
            return View(images)
        return View(_mirrored(images), _mirrored, _mirrored)


def _mirrored(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.flip(-1)
