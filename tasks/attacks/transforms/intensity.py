"""Transforms of intensity: controls for transforms of size, without motion of content."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from segtransfer.tasks.attacks.transforms.base import TRANSFORMS, TransformSpec
from segtransfer.tasks.attacks.transforms.views import TransformContext, View, gradient_at
from segtransfer.tasks.schema import Number, PixelFraction, Whole, added_later


@TRANSFORMS.add("si")
class IntensityScales(TransformSpec):
    """SI (Lin et al., ICLR 2020): the mean gradient over x / 2^i, i = 0 .. copies - 1.

    A random ``law`` (ours) draws an intensity per copy and step instead, shared by all images.

    Attributes:
        kind: The name, ``si``.
        copies: The number of intensities, each a forward per step, 1 to 32. Default 5.
        law: The intensities: ``all``, 1 / 2^i for each copy i; ``powers``, 1 / 2^i with i drawn
            from 0 .. ``levels`` - 1; or ``uniform``, drawn from [low, low + width]. Default
            ``all``.
        levels: The number of intensities under the law ``powers``, 2 to 32. Default 5.
        low: The smallest intensity under the law ``uniform``, in (0, 1]. Default 1/16.
        width: The largest intensity less the smallest under the law ``uniform``, in [0, 1]. Default
            15/16.
    """

    kind: Literal["si"] = "si"
    copies: Annotated[Whole, Field(ge=1, le=32)] = 5
    law: Literal["all", "powers", "uniform"] = added_later("all")
    levels: Annotated[Whole, Field(ge=2, le=32)] = added_later(5)
    low: Annotated[Number, Field(gt=0, le=1)] = added_later(1 / 16)
    width: Annotated[Number, Field(ge=0, le=1)] = added_later(15 / 16)

    @property
    def draws(self) -> bool:  # type: ignore[override]
        """Tell whether views depend on random numbers.

        Returns:
            True under a random law.
        """
        return self.law != "all"

    @property
    def views_per_step(self) -> int:
        """Return the number of copies per step, each a view and a forward."""
        return self.copies

    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Return the images at the intensity of the copy.

        Args:
            images: float N x 3 x H x W in [0, 1].
            context: ``context.random.copy`` is i.

        Returns:
            The view; labels and logits stay.
        """
        random = context.random
        if self.law == "all":
            return View(images / 2**random.copy)
        draw = random.number("intensity")
        if self.law == "powers":
            return View(images / 2 ** int(draw * self.levels))
        return View(images * (self.low + self.width * draw))


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
        return View(images + self.strength * _others(context, "admix"))


def _others(context: TransformContext, what: str) -> torch.Tensor:
    """Return another image of the shard per image of the batch, drawn by image, step and copy."""
    others = []
    for image_id in context.random.image_ids:
        own = context.shard_ids.index(image_id)
        count = max(len(context.shard_ids) - 1, 1)
        generator = context.random.generator(what, image_id)
        shift = 1 + int(torch.randint(count, (), generator=generator))
        others.append((own + shift) % len(context.shard_ids))
    return context.shard[others]


@TRANSFORMS.add("us-mm")
class UniformScaleMixMask(TransformSpec):
    """US-MM (Wang et al., arXiv 2311.12051): clip(s x (1 - strength + 2 strength x')).

    The gradient is the mean over ``scales`` evenly spaced intensities s and, for each, ``masks``
    draws of x', another image of the shard. As in the code of TransferAttack, the gradient is taken
    at the transformed image, not through the mask. There x' is an iterate of the batch, here a
    clean image, because no result depends on its batch. In a shard with a single image x' is x.

    Attributes:
        kind: The name, ``us-mm``.
        scales: The number of intensities, 2 to 32. Default 5.
        masks: The number of draws of x' per intensity, 1 to 32. Default 3.
        low: The smallest intensity, in (0, 1]. Default 0.1.
        width: The largest intensity less the smallest, in [0, 1]. Default 0.65.
        strength: Half the range of the mask around 1, in [0, 1]. Default 0.5.
    """

    mixes: ClassVar[bool] = True

    kind: Literal["us-mm"] = "us-mm"
    scales: Annotated[Whole, Field(ge=2, le=32)] = 5
    masks: Annotated[Whole, Field(ge=1, le=32)] = 3
    low: Annotated[Number, Field(gt=0, le=1)] = 0.1
    width: Annotated[Number, Field(ge=0, le=1)] = 0.65
    strength: Annotated[Number, Field(ge=0, le=1)] = 0.5

    @property
    def views_per_step(self) -> int:
        """Return the number of copies per step, each a view and a forward.

        Returns:
            ``scales`` times ``masks``.
        """
        return self.scales * self.masks

    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Return the images at the intensity and under the mask of the copy.

        Args:
            images: float N x 3 x H x W in [0, 1], images of the shard.
            context: The step's random numbers, and the shard from which x' is drawn. The intensity
                varies fastest over copies.

        Returns:
            The view, with values in [0, 1]; labels and logits stay.
        """
        number = context.random.copy % self.scales
        scale = self.low + self.width * number / (self.scales - 1)
        mask = 1 - self.strength + 2 * self.strength * _others(context, "us-mm")
        return View(gradient_at(images, (images * scale * mask).clamp(0, 1)))


@TRANSFORMS.add("ssa")
class SpectrumSimulation(TransformSpec):
    """SSA (Long et al., ECCV 2022): IDCT(DCT(x + N(0, sigma^2)) * U(1 - rho, 1 + rho)).

    The gradient is the mean over draws of noise and mask. The authors' code takes the gradient at
    the transformed image; ``through`` is ours.

    Attributes:
        kind: The name, ``ssa``.
        copies: The number of draws, each a forward per step, 1 to 64. Default 20.
        sigma: The standard deviation of the noise, a fraction of the pixel range [0, 1]. Default
            16/255.
        rho: Half the width of the range of the mask's factors around 1, in [0, 1]. Default 0.5.
        gradient: The place of the gradient: ``at``, taken at the transformed image and applied to
            x, as published; ``through``, taken at x, through the mask. Default ``through``; the
            preset ``ssa`` sets ``at``.
    """

    kind: Literal["ssa"] = "ssa"
    copies: Annotated[Whole, Field(ge=1, le=64)] = 20
    sigma: PixelFraction = 16 / 255
    rho: Annotated[Number, Field(ge=0, le=1)] = 0.5
    gradient: Literal["through", "at"] = added_later("through")

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
        seen = rows.T @ (spectrum * torch.stack(masks).to(device)) @ columns
        return View(seen if self.gradient == "through" else gradient_at(images, seen))


@lru_cache(maxsize=16)  # blocks of random sizes would fill the memory
def cosine_matrix(length: int) -> torch.Tensor:
    """Return the matrix of the orthonormal DCT-II; the transpose is the inverse.

    Args:
        length: The number of values, n.

    Returns:
        float32 n x n, cached for the last 16 lengths.
    """
    k, n = torch.arange(length)[:, None].double(), torch.arange(length)[None].double()
    matrix = torch.cos(math.pi / length * (n + 0.5) * k) * math.sqrt(2 / length)
    matrix[0] /= math.sqrt(2)
    return matrix.float()
