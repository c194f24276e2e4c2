"""Dynamic scaling S_r (arXiv 2111.11368), re-implemented from the abstract; constants ours."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.tasks.attacks.transforms.base import TRANSFORMS, TransformSpec
from segtransfer.tasks.attacks.transforms.views import (
    TransformContext,
    View,
    resize,
    same,
    snap,
    then,
    window,
)
from segtransfer.tasks.schema import Flag, Number, Whole


@TRANSFORMS.add("ds")
class DynamicScaling(TransformSpec):
    """S_{r_t}: a fresh scale r_t from [low, low + width] in every step.

    A scale is the ratio of a resized side to its native length. All images of a schedule group
    share the scales.

    Attributes:
        kind: The name, ``ds``.
        low: The smallest scale, in (0, 4]. Default 0.5.
        width: The largest scale less the smallest, in [0, 4]. Default 1.
        law: The distribution of scales: ``uniform``, ``log-uniform``, or ``discrete`` (``levels``
            values, evenly spaced, ends included). Default ``uniform``.
        levels: The number of values under the discrete law, 2 to 100. Default 5.
        scales: The number of scales per step, 1 to 32. Each scale's gradient (the sum over copies
            of other transforms) is divided by its mean magnitude, then all are averaged. Default 1.
        probability: The probability of scaling per step, in [0, 1]; otherwise the model gets the
            native image. Default 1.
        anisotropy: The spread a of the aspect ratio, in [0, 1]: the ratio is drawn log-uniform from
            [1/(1+a), 1+a] at equal area. Default 0, which keeps the aspect ratio.
        antialias: Whether a low-pass filter precedes downscaling. Default false.
        handling: The input of the model: ``whole``, the scaled image; ``native``, a random window
            (or zero padding) of the scaled image at native size; ``back``, the scaled image resized
            to native size. Default ``whole``.
        grid: The spacing to whose multiples scales are rounded, in [0, 1], so that convolution
            kernels are reused. Default 0, which does not round.
        schedule: ``random``, independent draws, or ``low-discrepancy``, a golden-ratio sequence
            that covers the range evenly. Default ``random``.
    """

    moves: ClassVar[bool] = True
    resizes: ClassVar[bool] = True

    kind: Literal["ds"] = "ds"
    low: Annotated[Number, Field(gt=0, le=4)] = 0.5
    width: Annotated[Number, Field(ge=0, le=4)] = 1.0
    law: Literal["uniform", "log-uniform", "discrete"] = "uniform"
    levels: Annotated[Whole, Field(ge=2, le=100)] = 5
    scales: Annotated[Whole, Field(ge=1, le=32)] = 1
    probability: Annotated[Number, Field(ge=0, le=1)] = 1.0
    anisotropy: Annotated[Number, Field(ge=0, le=1)] = 0.0
    antialias: Flag = False
    handling: Literal["whole", "native", "back"] = "whole"
    grid: Annotated[Number, Field(ge=0, le=1)] = 0.0
    schedule: Literal["random", "low-discrepancy"] = "random"

    @property
    def views_per_step(self) -> int:
        """Return the number of scales per step, each a view and a forward."""
        return self.scales

    @property
    def always_new_sizes(self) -> bool:
        """Tell whether most steps feed a new size to the model: with ``handling`` whole."""
        return self.handling == "whole"

    @property
    def relative_cost(self) -> float:
        """Return the mean area of a view relative to H W: E[r^2], 13/12 for U(0.5, 1.5).

        Returns:
            1 unless ``handling`` is whole. Rounding to a grid or a size divisor is neglected.
        """
        if self.handling != "whole":
            return 1.0
        low, high = self.low, self.low + self.width
        if self.law == "discrete":
            middles = ((i + 0.5) / self.levels for i in range(self.levels))
            area = sum(self.ratio(draw) ** 2 for draw in middles) / self.levels
        elif self.law == "log-uniform" and high > low:
            area = (high**2 - low**2) / (2 * math.log(high / low))
        else:
            area = (low * low + low * high + high * high) / 3
        return self.probability * area + 1 - self.probability

    def ratio(self, draw: float) -> float:
        """Return the scale of a draw, rounded to the grid.

        Args:
            draw: A number in [0, 1), the quantile of the law.

        Returns:
            A scale in [low, low + width].
        """
        if self.law == "discrete":
            ratio = self.low + self.width * int(draw * self.levels) / (self.levels - 1)
        elif self.law == "log-uniform":
            ratio = self.low * ((self.low + self.width) / self.low) ** draw
        else:
            ratio = self.low + self.width * draw
        if not self.grid:
            return ratio
        first, last = self._grid_ends()
        return min(max(round(ratio / self.grid), first), last) * self.grid

    def _grid_ends(self) -> tuple[int, int]:
        """Return the first and last multiple of the grid within the range."""
        slack = 1e-9
        first = math.ceil(self.low / self.grid - slack)
        return first, math.floor((self.low + self.width) / self.grid + slack)

    @model_validator(mode="after")
    def _grid_fits(self) -> Any:
        if self.grid and self._grid_ends()[1] < self._grid_ends()[0] + (self.width > 0):
            raise PydanticCustomError(
                "grid",
                "grid {grid} has too few multiples in [low, low + width] = [{low}, {high}]; give a "
                "finer grid, or 0 for none",
                {"grid": self.grid, "low": self.low, "high": self.low + self.width},
            )
        return self

    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Apply S_r, with the same r for all images; gradients flow through the resize.

        Args:
            images: float N x 3 x H x W in [0, 1].
            context: The step's random numbers and the sizes that the model takes.

        Returns:
            The view. Its ``ratio`` is sqrt(h w / H W), after rounding to the size divisor.
        """
        random = context.random
        if self.probability < 1 and random.number("scale or not") >= self.probability:
            return View(images)
        if self.schedule == "random":
            draw = random.number("scale")
        else:
            draw = random.low_discrepancy("scale", self.scales)
        aspect = 1.0
        if self.anisotropy:
            aspect = (1 + self.anisotropy) ** (2 * random.number("aspect") - 1)
        ratio, stretch = self.ratio(draw), math.sqrt(aspect)
        height, width = images.shape[-2:]
        ratios = ratio * stretch, ratio / stretch
        size = snap(height, width, ratios, context.divisor, context.least)
        scaled = resize(images, size, antialias=self.antialias)
        if self.handling == "whole":
            return scaled
        if self.handling == "native":
            top = _offset(height - size[0], random.number("top"))
            left = _offset(width - size[1], random.number("left"))
            return then(scaled, window(scaled.images, (height, width), top, left))
        back = then(scaled, resize(scaled.images, (height, width), antialias=self.antialias))
        # No content has moved, so labels and logits fit unchanged.
        return View(back.images, back.labels, same, ratio=scaled.ratio)


def _offset(room: int, draw: float) -> int:
    """Return a corner from 0 to ``room`` (padding), or from ``room`` to 0 if negative (cutting)."""
    return int(draw * (room + 1)) if room >= 0 else -int(draw * (1 - room))
