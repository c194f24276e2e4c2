"""Defences that change pixel values one image at a time: JPEG and bit depth."""

from __future__ import annotations

from io import BytesIO
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from typing_extensions import override

from segtransfer.tasks.models.defences.base import DEFENCES, InputDefence
from segtransfer.tasks.schema import Whole


@DEFENCES.add("jpeg")
class Jpeg(InputDefence):
    """JPEG (Dziugaite et al., 2016): each image is encoded and decoded by libjpeg, through Pillow.

    Images are rounded to 8 bits first. Colour is sampled 4:2:0, as most encoders do. Gradients
    replace the codec by the identity (BPDA).

    Attributes:
        kind: The name, ``jpeg``.
        quality: The quality of libjpeg, 1 to 100. Default 75.
    """

    short: ClassVar[str | None] = "quality"
    exact_gradient: ClassVar[bool] = False

    kind: Literal["jpeg"] = "jpeg"
    quality: Annotated[Whole, Field(ge=1, le=100)] = 75

    @override
    def defended(self, images: torch.Tensor) -> torch.Tensor:
        from segtransfer.tasks.models.bpda import straight_through  # needs torch

        pixels = (images.detach() * 255).round().clamp(0, 255).to(torch.uint8)
        decoded = np.stack([self._decoded(i) for i in pixels.permute(0, 2, 3, 1).cpu().numpy()])
        changed = torch.from_numpy(decoded).permute(0, 3, 1, 2).to(images.device)
        return straight_through(images, changed.contiguous().to(images.dtype) / 255)

    def _decoded(self, pixels: np.ndarray) -> np.ndarray:
        file = BytesIO()
        image = Image.fromarray(np.ascontiguousarray(pixels))
        image.save(file, "JPEG", quality=self.quality, subsampling="4:2:0")
        return np.asarray(Image.open(file))


@DEFENCES.add("bits")
class BitDepth(InputDefence):
    """Bit depth (Xu, Evans and Qi, NDSS 2018): values are rounded to 2^bits levels from 0 to 1.

    Gradients replace the rounding by the identity (BPDA).

    Attributes:
        kind: The name, ``bits``.
        bits: The number of bits per colour, 1 to 8. Default 4.
    """

    short: ClassVar[str | None] = "bits"
    exact_gradient: ClassVar[bool] = False

    kind: Literal["bits"] = "bits"
    bits: Annotated[Whole, Field(ge=1, le=8)] = 4

    @override
    def defended(self, images: torch.Tensor) -> torch.Tensor:
        from segtransfer.tasks.models.bpda import straight_through  # needs torch

        most = 2**self.bits - 1
        return straight_through(images, (images.detach() * most).round() / most)
