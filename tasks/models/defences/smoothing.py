"""Gaussian smoothing as a defence."""

from __future__ import annotations

from functools import reduce
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from typing_extensions import override

from segtransfer.tasks.models.defences.base import DEFENCES, InputDefence
from segtransfer.tasks.schema import Number

REACH = 4  # the kernel's radius in sigmas, as in scipy.ndimage


@DEFENCES.add("smooth")
class GaussianSmoothing(InputDefence):
    """Smoothing: each colour is convolved with a normalised Gaussian, cut at 4 sigma.

    Border pixels are repeated beyond the border, so a constant image stays constant.

    Attributes:
        kind: The name, ``smooth``.
        sigma: The standard deviation of the Gaussian in pixels of the model's input, above 0 and at
            most 32. Default 1.
    """

    short: ClassVar[str | None] = "sigma"

    kind: Literal["smooth"] = "smooth"
    sigma: Annotated[Number, Field(gt=0, le=32)] = 1.0

    @override
    def defended(self, images: torch.Tensor) -> torch.Tensor:
        radius = int(REACH * self.sigma + 0.5)
        grid = torch.arange(-radius, radius + 1, dtype=torch.float64)
        weights = torch.exp(-(grid**2) / (2 * self.sigma**2))
        weights = (weights / weights.sum()).to(images)
        padded = torch.nn.functional.pad(images, (radius,) * 4, mode="replicate")
        # A sum of shifted images: the bits of a convolution can depend on the size of the batch.
        height, width = images.shape[-2:]
        rows = (w * padded[..., i : i + height, :] for i, w in enumerate(weights))
        smoothed = reduce(torch.add, rows)
        columns = (w * smoothed[..., i : i + width] for i, w in enumerate(weights))
        return reduce(torch.add, columns)
