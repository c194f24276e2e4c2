"""Transforms of blocks: each block of an image gets a transform of its own; labels follow it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms.base import TRANSFORMS, TransformSpec
from segtransfer.tasks.attacks.transforms.intensity import cosine_matrix
from segtransfer.tasks.attacks.transforms.views import TransformContext, View
from segtransfer.tasks.labels import IGNORE_INDEX
from segtransfer.tasks.schema import Number, Whole

# The authors' constants, pixels in [0, 1]: half the range of the noise, the ratio of the smaller
# size, the share of high frequencies that are removed per axis, the share of channels dropped.
NOISE, SMALLER, CUT, DROPPED = 16 / 255, 0.8, 0.4, 0.1
FLIPS = {"vertical flip": (-2,), "horizontal flip": (-1,), "half turn": (-2, -1)}
CHANGES = ("resize", "vertical shift", "horizontal shift", *FLIPS, "scale", "noise", "dct", "drop")


@dataclass(frozen=True)
class _Block:
    """A block, its change and the change's random number in [0, 1); ``name`` names its draws."""

    name: str
    rows: slice
    columns: slice
    change: str
    amount: float


Tiling = tuple[tuple[_Block, ...], ...]


@TRANSFORMS.add("sia")
class StructureInvariance(TransformSpec):
    """SIA (Wang et al., ICCV 2023): blocks of random sizes, each changed in one of ten ways.

    A block is shifted with wrap-around along an axis, mirrored along an axis or both, made smaller
    and resized back (ratio 0.8), scaled in intensity by U(0, 1), given noise U(-16/255, 16/255), or
    loses the highest 40 % of DCT frequencies per axis, or channels with probability 0.1. All images
    of a step share blocks and changes. Labels and logits follow each block exactly. Two traits of
    the authors' code are not repeated here: the swap of height and width of the smaller size, and
    the loss of all frequencies in blocks of fewer than 3 pixels.

    Attributes:
        kind: The name, ``sia``.
        copies: The number of draws, each a forward per step, 1 to 64. Default 20.
        blocks: The number of blocks along each axis, 1 to 16. Default 3.
    """

    moves: ClassVar[bool] = True

    kind: Literal["sia"] = "sia"
    copies: Annotated[Whole, Field(ge=1, le=64)] = 20
    blocks: Annotated[Whole, Field(ge=1, le=16)] = 3

    @property
    def views_per_step(self) -> int:
        """Return the number of copies per step, each a view and a forward.

        Returns:
            ``copies``.
        """
        return self.copies

    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Change the images block by block.

        Args:
            images: float N x 3 x H x W in [0, 1].
            context: The step's random numbers; noise and dropped channels are drawn per image.

        Returns:
            The view. Labels and logits move with the pixels, none is lost.
        """
        grid = self._grid(context.random, images.shape[-2], images.shape[-1])
        return View(
            _tiled(images, grid, partial(_changed, random=context.random)),
            lambda labels: _tiled(labels, grid, _moved),
            lambda logits: _tiled(logits, grid, partial(_moved, back=True)),
        )

    def _grid(self, random: StepRandom, height: int, width: int) -> Tiling:
        """Draw the blocks and their changes."""
        tops = _cuts(random, "sia row", height, self.blocks)
        lefts = _cuts(random, "sia column", width, self.blocks)
        return tuple(
            tuple(
                _Block(
                    name := f"sia {row} {column}",
                    rows,
                    columns,
                    CHANGES[int(random.number(f"{name} change") * len(CHANGES))],
                    random.number(f"{name} amount"),
                )
                for column, columns in enumerate(lefts)
            )
            for row, rows in enumerate(tops)
        )


def _cuts(random: StepRandom, what: str, length: int, count: int) -> list[slice]:
    """Cut a length at distinct random places into ``count`` parts, or as many as fit."""
    places, chosen = list(range(1, length)), [0, length]
    for number in range(min(count, length) - 1):
        chosen.append(places.pop(int(random.number(f"{what} {number}") * len(places))))
    chosen.sort()
    return [slice(start, end) for start, end in pairwise(chosen)]


def _tiled(
    tensor: torch.Tensor, grid: Tiling, change: Callable[[torch.Tensor, _Block], torch.Tensor]
) -> torch.Tensor:
    """Return a tensor ... x H x W of changed blocks."""
    rows = [
        torch.cat([change(tensor[..., b.rows, b.columns], b) for b in blocks], -1)
        for blocks in grid
    ]
    return torch.cat(rows, -2)


def _moved(tensor: torch.Tensor, block: _Block, *, back: bool = False) -> torch.Tensor:
    """Move the pixels of a block, or move them back."""
    if block.change.endswith("shift"):
        axis = -2 if block.change == "vertical shift" else -1
        pixels = int(block.amount * tensor.shape[axis])
        return tensor.roll(-pixels if back else pixels, axis)
    return tensor.flip(FLIPS[block.change]) if block.change in FLIPS else tensor


def _changed(images: torch.Tensor, block: _Block, *, random: StepRandom) -> torch.Tensor:
    """Apply the change of a block to its images, N x 3 x h x w."""
    size = images.shape[-2], images.shape[-1]
    if block.change == "resize":
        smaller = [int(length * SMALLER) + 1 for length in size]
        small = torch.nn.functional.interpolate(
            images, size=smaller, mode="bilinear", align_corners=False
        )
        back = torch.nn.functional.interpolate(
            small, size=size, mode="bilinear", align_corners=False
        )
        return back.clamp(0, 1)
    if block.change == "scale":
        return block.amount * images
    if block.change == "noise":
        noise = _drawn(random, block, tuple(images.shape[1:])).to(images)
        return (images + NOISE * (2 * noise - 1)).clamp(0, 1)
    if block.change == "dct":
        for axis, length in zip((-2, -1), size, strict=True):
            kept = cosine_matrix(length)[: length - int(length * CUT)].to(images)
            low_pass = kept.T @ kept
            images = low_pass @ images if axis == -2 else images @ low_pass
        return images
    if block.change == "drop":
        kept = _drawn(random, block, (images.shape[1], 1, 1)).to(images) >= DROPPED
        return images * (kept.to(images.dtype) / (1 - DROPPED))
    return _moved(images, block)


def _drawn(random: StepRandom, block: _Block, shape: tuple[int, ...]) -> torch.Tensor:
    """Return uniform numbers in [0, 1), N x shape, drawn by image."""
    generators = (random.generator(block.name, image_id) for image_id in random.image_ids)
    return torch.stack([torch.rand(shape, generator=generator) for generator in generators])


@dataclass(frozen=True)
class _Shuffled:
    """Parts of random lengths in pixels along an axis, and their numbers in the new order."""

    lengths: tuple[int, ...]
    order: tuple[int, ...]

    def apply(self, tensor: torch.Tensor, axis: int) -> list[torch.Tensor]:
        """Return the parts of a tensor in the new order."""
        parts = tensor.split(self.lengths, axis)
        return [parts[number] for number in self.order]

    def undo(self, tensor: torch.Tensor, axis: int) -> list[torch.Tensor]:
        """Return the parts of a shuffled tensor in the old order."""
        parts = tensor.split([self.lengths[number] for number in self.order], axis)
        return [parts[self.order.index(number)] for number in range(len(parts))]


@dataclass(frozen=True)
class _Strips:
    """Shuffled strips along an axis; each strip has an angle in radians, and shuffled cells."""

    axis: int
    strips: _Shuffled
    angles: tuple[float, ...]
    cells: tuple[_Shuffled, ...]

    def apply(self, tensor: torch.Tensor, mode: str) -> torch.Tensor:
        """Turn and shuffle a tensor N x C x H x W."""
        across, made = -3 - self.axis, []
        for number, strip in zip(
            self.strips.order, self.strips.apply(tensor, self.axis), strict=True
        ):
            turned = _turned(strip, self.angles[number], mode)
            made.append(torch.cat(self.cells[number].apply(turned, across), across))
        return torch.cat(made, self.axis)

    def undo(self, tensor: torch.Tensor) -> torch.Tensor:
        """Turn and shuffle a tensor N x C x H x W back; 0 at pixels that are lost."""
        across, made = -3 - self.axis, []
        for number, strip in enumerate(self.strips.undo(tensor, self.axis)):
            whole = torch.cat(self.cells[number].undo(strip, across), across)
            made.append(_turned(whole, -self.angles[number], "bilinear"))
        return torch.cat(made, self.axis)


@TRANSFORMS.add("bsr")
class BlockShuffle(TransformSpec):
    """BSR (Wang et al., CVPR 2024): shuffled strips, each turned by an angle, cells shuffled.

    Images are cut along a random axis into strips with lengths in proportion to U(1, 2). Strips are
    shuffled, each is turned bilinearly about its centre by U(-degrees, degrees) with zeros in the
    gaps, cut along the other axis likewise, and its cells are shuffled. This is the authors' rule
    in TransferAttack; their TensorFlow code has 2 x 2 blocks and turns each block by a truncated
    normal angle. All images of a step share the draws. Labels of gaps are 255; pixels turned out of
    their strip are ignored.

    Attributes:
        kind: The name, ``bsr``.
        copies: The number of draws, each a forward per step, 1 to 64. Default 20.
        blocks: The number of strips, and of cells per strip, 1 to 16; at most the square root of
            the length in pixels that is cut. Default 3.
        degrees: The largest angle, in [0, 180]. Default 24.
    """

    moves: ClassVar[bool] = True

    kind: Literal["bsr"] = "bsr"
    copies: Annotated[Whole, Field(ge=1, le=64)] = 20
    blocks: Annotated[Whole, Field(ge=1, le=16)] = 3
    degrees: Annotated[Number, Field(ge=0, le=180)] = 24.0

    @property
    def views_per_step(self) -> int:
        """Return the number of copies per step, each a view and a forward.

        Returns:
            ``copies``.
        """
        return self.copies

    def view(self, images: torch.Tensor, context: TransformContext) -> View:
        """Shuffle and turn the strips of the images.

        Args:
            images: float N x 3 x H x W in [0, 1].
            context: The step's random numbers.

        Returns:
            The view; labels follow by nearest neighbour, logits are turned back bilinearly.
        """
        plan = self._plan(context.random, images.shape[-2], images.shape[-1])

        def labels(labels: torch.Tensor) -> torch.Tensor:
            # Zeros fill the gaps, so classes are counted from 1 meanwhile.
            moved = plan.apply(labels[:, None].float() + 1, "nearest")[:, 0].long() - 1
            return torch.where(moved < 0, IGNORE_INDEX, moved)

        return View(plan.apply(images, "bilinear"), labels, plan.undo, whole=not self.degrees)

    def _plan(self, random: StepRandom, height: int, width: int) -> _Strips:
        """Draw the axis, the strips, their angles and their cells."""
        axis = -2 if random.number("bsr axis") < 0.5 else -1
        along, across = (height, width) if axis == -2 else (width, height)
        strips = _shuffled(random, "bsr strips", along, self.blocks)
        numbers = range(len(strips.order))
        turns = [2 * random.number(f"bsr angle {number}") - 1 for number in numbers]
        return _Strips(
            axis,
            strips,
            tuple(math.radians(self.degrees * turn) for turn in turns),
            tuple(_shuffled(random, f"bsr cells {n}", across, self.blocks) for n in numbers),
        )


def _shuffled(random: StepRandom, what: str, length: int, count: int) -> _Shuffled:
    """Draw parts of a length and their order; the longest part takes the rest of the rounding.

    There are at most sqrt(length) parts, because the rest would leave a part a length below 0.
    """
    count = min(count, math.isqrt(length))
    shares = [2 - random.number(f"{what} length {number}") for number in range(count)]
    lengths = [round(share / sum(shares) * length) for share in shares]
    lengths[lengths.index(max(lengths))] += length - sum(lengths)
    left, order = list(range(count)), []
    for place in range(count):
        order.append(left.pop(int(random.number(f"{what} order {place}") * len(left))))
    return _Shuffled(tuple(lengths), tuple(order))


def _turned(tensor: torch.Tensor, angle: float, mode: str) -> torch.Tensor:
    """Turn a tensor N x C x h x w counter-clockwise about its centre, with zeros in the gaps."""
    if not angle or not tensor.numel():
        return tensor
    height, width = tensor.shape[-2:]
    y, x = (
        torch.arange(length, dtype=tensor.dtype, device=tensor.device) - (length - 1) / 2
        for length in (height, width)
    )
    y, x = torch.meshgrid(y, x, indexing="ij")
    cosine, sine = math.cos(angle), math.sin(angle)
    places = [(cosine * x - sine * y) * 2 / width, (sine * x + cosine * y) * 2 / height]
    grid = torch.stack(places, -1).expand(len(tensor), -1, -1, -1)
    return torch.nn.functional.grid_sample(
        tensor, grid, mode=mode, padding_mode="zeros", align_corners=False
    )
