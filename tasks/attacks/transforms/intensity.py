"""Transforms of intensity: controls for transforms of size, without motion of content."""

import math
from functools import cache
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from segtransfer.tasks.attacks.transforms.base import TRANSFORMS, TransformSpec
from segtransfer.tasks.attacks.transforms.views import TransformContext, View
from segtransfer.tasks.schema import Number, PixelFraction, Whole


@TRANSFORMS.add("si")
class IntensityScales(TransformSpec):
    """SI (Lin et al., ICLR 2020): the mean gradient over x / 2^i, i = 0 .. copies - 1.

    Attributes:
        kind: The name, ``si``.
        copies: The number of intensities, each a forward per step, 1 to 32. Default 5.
    """

    draws: ClassVar[bool] = False

    kind: Literal["si"] = "si"
    copies: Annotated[Whole, Field(ge=1, le=32)] = 5

    @property
    def views_per_step(self) -> int:
        """Return the number of copies per step, each a view and a forward."""
        return self.copies

    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Return x / 2^i for copy i.

        Args:
            images: float N x 3 x H x W in [0, 1].
            context: ``context.random.copy`` is i.

        Returns:
            The view; labels and logits stay.
        """
        return View(images / 2**context.random.copy)


@TRANSFORMS.add("admix")
class Admix(TransformSpec):
    """Admix (Wang et al., ICCV 2021): x + strength * x', x' another image of the shard.

    The gradient is the mean over draws of x'. In a shard with a single image x' is x.

    Attributes:
        kind: The name, ``admix``.
        copies: The number of draws of x', each a forward per step, 1 to 32. Default 3.
        strength: The factor of x', in [0, 1]. Default 0.2.
    """

    mixes: ClassVar[bool] = True

    kind: Literal["admix"] = "admix"
    copies: Annotated[Whole, Field(ge=1, le=32)] = 3
    strength: Annotated[Number, Field(ge=0, le=1)] = 0.2

    @property
    def views_per_step(self) -> int:
        """Return the number of copies per step, each a view and a forward."""
        return self.copies

    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Return x + strength * x', with another x' per image, step and copy.

        Args:
            images: float N x 3 x H x W in [0, 1], images of the shard.
            context: The step's random numbers, and the shard from which x' is drawn.

        Returns:
            The view, with values in [0, 1 + strength]; labels and logits stay.
        """
        others = []
        for image_id in context.random.image_ids:
            own = context.shard_ids.index(image_id)
            count = max(len(context.shard_ids) - 1, 1)
            generator = context.random.generator("admix", image_id)
            shift = 1 + int(torch.randint(count, (), generator=generator))
            others.append((own + shift) % len(context.shard_ids))
        return View(images + self.strength * context.shard[others])


@TRANSFORMS.add("ssa")
class SpectrumSimulation(TransformSpec):
    """SSA (Long et al., ECCV 2022): IDCT(DCT(x + N(0, sigma^2)) * U(1 - rho, 1 + rho)).

    The gradient is the mean over draws of noise and mask.

    Attributes:
        kind: The name, ``ssa``.
        copies: The number of draws, each a forward per step, 1 to 64. Default 20.
        sigma: The standard deviation of the noise, a fraction of the pixel range [0, 1]. Default
            16/255.
        rho: Half the width of the range of the mask's factors around 1, in [0, 1]. Default 0.5.
    """

    kind: Literal["ssa"] = "ssa"
    copies: Annotated[Whole, Field(ge=1, le=64)] = 20
    sigma: PixelFraction = 16 / 255
    rho: Annotated[Number, Field(ge=0, le=1)] = 0.5

    @property
    def views_per_step(self) -> int:
        """Return the number of copies per step, each a view and a forward."""
        return self.copies

    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Multiply the spectrum of the noisy images by a random mask; values may leave [0, 1].

        Args:
            images: float N x 3 x H x W in [0, 1].
            context: The step's random numbers, drawn per image.

        Returns:
            The view; labels and logits stay.
        """
        shape, device = tuple(images.shape[1:]), images.device
        noises, masks = [], []
        for image_id in context.random.image_ids:
            generator = context.random.generator("spectrum", image_id)
            noises.append(torch.randn(shape, generator=generator))
            masks.append(1 + self.rho * (2 * torch.rand(shape, generator=generator) - 1))
        noisy = images + self.sigma * torch.stack(noises).to(device)
        rows, columns = (cosine_matrix(n).to(images) for n in shape[1:])
        spectrum = rows @ noisy @ columns.T
        return View(rows.T @ (spectrum * torch.stack(masks).to(device)) @ columns)


@cache
def cosine_matrix(length: int) -> torch.Tensor:
    """Return the matrix of the orthonormal DCT-II; the transpose is the inverse.

    Args:
        length: The number of values, n.

    Returns:
        float32 n x n, cached.
    """
    k, n = torch.arange(length)[:, None].double(), torch.arange(length)[None].double()
    matrix = torch.cos(math.pi / length * (n + 0.5) * k) * math.sqrt(2 / length)
    matrix[0] /= math.sqrt(2)
    return matrix.float()
