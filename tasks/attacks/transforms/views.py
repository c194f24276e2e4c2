"""Views: the images that a model gets, and how labels and logits follow them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F

from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.labels import IGNORE_INDEX

TensorMap = Callable[[torch.Tensor], torch.Tensor]
HeightWidth = tuple[int, int]


def same(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor unchanged."""
    return tensor


@dataclass(frozen=True)
class View:
    """Images as a model gets them, and how native labels and logits meet again.

    Attributes:
        images: N x 3 x h x w.
        labels: Maps native labels N x H x W to the view: nearest neighbour, 255 outside the image.
        logits: Maps logits of the view back to native resolution: bilinear.
        whole: Whether the view shows all of the image.
        ratio: The realised scale; 1 if the size of objects is unchanged.
    """

    images: torch.Tensor
    labels: TensorMap = same
    logits: TensorMap = same
    whole: bool = True
    ratio: float = 1.0


@dataclass(frozen=True)
class TransformContext:
    """The inputs of a transform besides the images and its spec.

    Attributes:
        divisor: The number that divides every size the model takes.
        random: The random numbers of this step.
        shard: All clean images of the shard, float M x 3 x H x W.
        shard_ids: An id per image of the shard.
        least: The shortest side that the model takes, in pixels.
    """

    divisor: int
    random: StepRandom
    shard: torch.Tensor
    shard_ids: tuple[str, ...]
    least: int = 1


def then(first: View, second: View) -> View:
    """Return the composition of two views; ``second`` was made of ``first.images``."""
    return View(
        images=second.images,
        labels=lambda labels: second.labels(first.labels(labels)),
        logits=lambda logits: first.logits(second.logits(logits)),
        whole=first.whole and second.whole,
        ratio=first.ratio * second.ratio,
    )


def resize(images: torch.Tensor, size: HeightWidth, *, antialias: bool = False) -> View:
    """Resize images bilinearly, differentiably; labels follow by nearest neighbour.

    Args:
        images: float N x 3 x H x W.
        size: Height and width of the result, in pixels.
        antialias: Whether downscaling filters the image first.

    Returns:
        The view; its logits are resized back to H x W.
    """
    native = images.shape[-2:]

    def logits(logits: torch.Tensor) -> torch.Tensor:
        return F.interpolate(logits, size=native, mode="bilinear", align_corners=False)

    seen = F.interpolate(
        images, size=size, mode="bilinear", align_corners=False, antialias=antialias
    )
    ratio = (size[0] * size[1] / (native[0] * native[1])) ** 0.5
    return View(seen, partial(_nearest, size=size), logits, ratio=ratio)


def window(images: torch.Tensor, size: HeightWidth, top: int, left: int) -> View:
    """Place images on a canvas: pixels outside the image are 0 (labels: 255), the excess is cut.

    Args:
        images: float N x 3 x H x W.
        size: Height and width of the canvas, in pixels.
        top: The row of the image's upper left corner on the canvas; negative cuts rows.
        left: The column of that corner; negative cuts columns.

    Returns:
        The view; ``whole`` is False if any part of the image was cut.
    """
    height, width = images.shape[-2:]
    pads = (left, size[1] - width - left, top, size[0] - height - top)
    back = tuple(-pad for pad in pads)
    return View(
        images=F.pad(images, pads),
        labels=lambda labels: F.pad(labels, pads, value=IGNORE_INDEX),
        logits=lambda logits: F.pad(logits, back),
        whole=min(pads) >= 0,
    )


def snap(
    height: int, width: int, ratios: tuple[float, float], divisor: int, least: int = 1
) -> HeightWidth:
    """Return the size nearest to the ratios of (height, width) that ``divisor`` divides.

    Args:
        height: The native height, in pixels.
        width: The native width, in pixels.
        ratios: The wanted ratios of height and width; a ratio of 1 keeps the native length whatever
            the divisor.
        divisor: The number that divides every size the model takes.
        least: The shortest side that the model takes, in pixels.

    Returns:
        Height and width, each at least one divisor and ``least``.
    """

    def nearest(length: int, ratio: float) -> int:
        if ratio == 1.0:
            return length
        return divisor * max(1, -(-least // divisor), round(length * ratio / divisor))

    return nearest(height, ratios[0]), nearest(width, ratios[1])


def resize_labels(labels: torch.Tensor, size: HeightWidth) -> torch.Tensor:
    """Return labels N x H x W at a size, by nearest neighbour."""
    return labels if labels.shape[-2:] == size else _nearest(labels, size)


def _nearest(labels: torch.Tensor, size: HeightWidth) -> torch.Tensor:
    # nearest-exact samples at pixel centres, as the bilinear resize of the image does; floats hold
    # every class index exactly.
    return F.interpolate(labels[:, None].float(), size=size, mode="nearest-exact")[:, 0].long()


def align(
    view: View,
    logits: torch.Tensor,
    labels: torch.Tensor,
    version: str,
    *,
    grid: HeightWidth | None = None,
    at: Callable[[torch.Tensor, HeightWidth], torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring logits of a view and native labels together.

    Args:
        view: The view whose logits are given.
        logits: float N x K x h x w, the model's answer to the view.
        labels: int64 N x H x W, native.
        version: ``logits`` brings the logits back to native resolution, and sets labels of pixels
            outside the view to 255; ``labels`` moves the labels to the view.
        grid: Height and width of the images, if the labels have another size.
        at: Resizes logits to the size of the labels, if it is another.

    Returns:
        Logits and labels at the same resolution.
    """
    size = labels.shape[-2], labels.shape[-1]
    if version == "labels":
        return logits, view.labels(resize_labels(labels, grid or size))
    if not view.whole:
        ones = torch.ones_like(logits[:1, :1])
        shown = resize_labels((view.logits(ones) > 0.999)[:, 0], size)
        labels = torch.where(shown.bool(), labels, IGNORE_INDEX)
    logits = view.logits(logits)
    return logits if at is None else at(logits, size), labels
