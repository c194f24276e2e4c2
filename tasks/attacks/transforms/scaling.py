"""Dynamic scaling S_r (arXiv 2111.11368), re-implemented from the abstract; constants ours."""

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
    """S_{r_t}: a fresh scale r_t from [low, low + width] every step.

    Attributes:
        low: The lower end of the range of scales.
        width: The width of the range.
        law: uniform, log-uniform, or discrete (``levels`` values, evenly spaced, ends included).
        levels: The number of values under the discrete law.
        scales: The number of scales per step. Each scale's gradient (the sum over copies of other
            transforms) is divided by its mean magnitude, then all are averaged.
        probability: The probability of scaling at all, else the native image.
        anisotropy: a, with the aspect ratio drawn log-uniform from [1/(1+a), 1+a] at equal area.
        antialias: Whether downscaling filters the image first.
        handling: ``whole`` feeds the scaled image, ``native`` its random window (or zero-padded) at
            native size, ``back`` resizes the scaled image to native size.
        grid: Ratios are rounded to its multiples within the range, so kernels are reused; 0 does
            not round.
        schedule: Independent draws, or a low-discrepancy sequence.
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
        """Return the number of views, thus of forwards, per step."""
        return self.scales

    @property
    def always_new_sizes(self) -> bool:
        """Tell whether most steps feed a size that was not fed before."""
        return self.handling == "whole"

    @property
    def relative_cost(self) -> float:
        """Return E[r^2], the mean cost of a forward in native forwards: 13/12 for U(0.5, 1.5).

        The rounding to a grid or to a size divisor is left out.
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
        """Return the scale of a draw in [0, 1)."""
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
                "grid {grid} has fewer than two multiples in [{low}, {high}]; give a finer one",
                {"grid": self.grid, "low": self.low, "high": self.low + self.width},
            )
        return self

    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Apply S_r, with the same r for all images; gradients flow through the resize.

        Args:
            images: float N x 3 x H x W in [0, 1].
            context: The step's random numbers and the model's size divisor.

        Returns:
            The view; its ratio is sqrt(h w / H W) after rounding to the size divisor.
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
        # The content lies where it lay: untouched logits and labels fit.
        return View(back.images, back.labels, same, ratio=scaled.ratio)


def _offset(room: int, draw: float) -> int:
    """Return a corner from 0 to ``room`` (padding), or from ``room`` to 0 if negative (cutting)."""
    return int(draw * (room + 1)) if room >= 0 else -int(draw * (1 - room))
