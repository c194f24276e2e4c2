"""Views: the images for a model, with the maps of labels and logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch

from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.labels import IGNORE_INDEX

TensorMap: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"
HeightWidth = tuple[int, int]


def same(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor unchanged: the map of a view in which no content moves.

    Args:
        tensor: Labels N x H x W or logits N x K x H x W.

    Returns:
        The same tensor.
    """
    return tensor


@dataclass(frozen=True)
class View:
    """The images for a model, and the maps between the view and the native grid H x W.

    Attributes:
        images: float N x 3 x h x w, with a gradient to the native images.
        labels: Maps native labels, int64 N x H x W, to N x h x w. Pixels outside the image become
            255. Default ``same``.
        logits: Maps logits of the view, N x K x h x w, back to N x K x H x W, differentiably.
            Default ``same``.
        whole: Whether the view shows the whole image. If False, native pixels outside the view are
            ignored by the loss. Default True.
        ratio: The scale of objects, sqrt(h w / H W) after a resize; recorded in the attack's
            health. Default 1.
    """

    images: torch.Tensor
    labels: TensorMap = same
    logits: TensorMap = same
    whole: bool = True
    ratio: float = 1.0


@dataclass(frozen=True)
class TransformContext:
    """The inputs of a transform besides images and fields.

    Attributes:
        divisor: The divisor of every height and width the model takes, in pixels; 1 for any size.
        random: The random numbers of the step; ``random.image_ids`` names the images of the batch.
        shard: All clean images of the shard, float M x 3 x H x W in [0, 1].
        shard_ids: An id per image of the shard, in the order of ``shard``.
        least: The shortest side the model takes, in pixels. Default 1.
    """

    divisor: int
    random: StepRandom
    shard: torch.Tensor
    shard_ids: tuple[str, ...]
    least: int = 1


def then(first: View, second: View) -> View:
    """Return the composition of two views.

    Args:
        first: A view of native images.
        second: A view of ``first.images``.

    Returns:
        A view of the native images: the images of ``second``, with both maps of labels and logits
        composed, ratios multiplied, and ``whole`` only if both views are whole.
    """
    return View(
        images=second.images,
        labels=lambda labels: second.labels(first.labels(labels)),
        logits=lambda logits: first.logits(second.logits(logits)),
        whole=first.whole and second.whole,
        ratio=first.ratio * second.ratio,
    )


def gradient_at(images: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Return transformed images whose gradient reaches the images unchanged.

    A loss of the result has at ``images`` the gradient that the loss has at ``seen``, as if the
    transform were the identity.

    Args:
        images: float N x 3 x H x W.
        seen: The transformed images, finite, of the same shape.

    Returns:
        float N x 3 x H x W, the values of ``seen``.
    """
    return seen.detach() + (images - images.detach())


def resize(images: torch.Tensor, size: HeightWidth, *, antialias: bool = False) -> View:
    """Resize images bilinearly, differentiably; labels follow by nearest neighbour.

    Args:
        images: float N x 3 x H x W.
        size: Height h and width w of the result, in pixels.
        antialias: Whether a low-pass filter precedes downscaling.

    Returns:
        The view of images N x 3 x h x w. Labels are sampled at pixel centres; logits are resized
        back to H x W bilinearly (align_corners=False). The ratio is sqrt(h w / H W).
    """
    native = images.shape[-2:]

    def logits(logits: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(
            logits, size=native, mode="bilinear", align_corners=False
        )

    seen = torch.nn.functional.interpolate(
        images, size=size, mode="bilinear", align_corners=False, antialias=antialias
    )
    ratio = (size[0] * size[1] / (native[0] * native[1])) ** 0.5
    return View(seen, partial(_nearest, size=size), logits, ratio=ratio)


def window(images: torch.Tensor, size: HeightWidth, top: int, left: int) -> View:
    """Place images on a canvas, padded with zeros and cut at its border.

    Args:
        images: float N x 3 x H x W.
        size: Height h and width w of the canvas, in pixels.
        top: The canvas row of the images' upper left corner, in pixels; negative cuts rows.
        left: The canvas column of the same corner, in pixels; negative cuts columns.

    Returns:
        The view of images N x 3 x h x w. Labels of padded pixels are 255, logits of cut pixels are
        0. ``whole`` is False if any part of the image was cut.
    """
    height, width = images.shape[-2:]
    pads = (left, size[1] - width - left, top, size[0] - height - top)
    back = tuple(-pad for pad in pads)
    return View(
        images=torch.nn.functional.pad(images, pads),
        labels=lambda labels: torch.nn.functional.pad(labels, pads, value=IGNORE_INDEX),
        logits=lambda logits: torch.nn.functional.pad(logits, back),
        whole=min(pads) >= 0,
    )


def snap(
    height: int, width: int, ratios: tuple[float, float], divisor: int, least: int = 1
) -> HeightWidth:
    """Return the size nearest to given ratios among the sizes a model takes.

    Args:
        height: The native height, in pixels.
        width: The native width, in pixels.
        ratios: The wanted ratios of height and width, more than 0. A ratio of exactly 1 keeps the
            native length, whatever the divisor.
        divisor: The divisor of every height and width, in pixels.
        least: The shortest side the model takes, in pixels.

    Returns:
        Height and width in pixels: multiples of ``divisor``, no shorter than ``least``.
    """

    def nearest(length: int, ratio: float) -> int:
        if ratio == 1.0:
            return length
        return divisor * max(1, -(-least // divisor), round(length * ratio / divisor))

    return nearest(height, ratios[0]), nearest(width, ratios[1])


def resize_labels(labels: torch.Tensor, size: HeightWidth) -> torch.Tensor:
    """Resize labels by nearest neighbour, sampled at pixel centres.

    Args:
        labels: int64 N x H x W.
        size: Height h and width w of the result, in pixels.

    Returns:
        int64 N x h x w; the same tensor if the size is equal.
    """
    return labels if labels.shape[-2:] == size else _nearest(labels, size)


def _nearest(labels: torch.Tensor, size: HeightWidth) -> torch.Tensor:
    # nearest-exact samples at pixel centres, as the bilinear resize of the image does; floats hold
    # every class index exactly.
    return torch.nn.functional.interpolate(
        labels[:, None].float(), size=size, mode="nearest-exact"
    )[:, 0].long()


def align(
    view: View,
    logits: torch.Tensor,
    labels: torch.Tensor,
    version: str,
    *,
    grid: HeightWidth | None = None,
    at: Callable[[torch.Tensor, HeightWidth], torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring logits of a view and native labels to one resolution.

    Args:
        view: The view whose logits are given.
        logits: float N x K x h x w, the model's output for ``view.images``.
        labels: int64 N x H x W, native, 255 ignored.
        version: ``logits`` maps the logits back to native resolution, and sets labels of pixels
            outside the view to 255. ``labels`` maps the labels to the view.
        grid: Height and width of the native images in pixels, if the labels have another size.
        at: Resizes logits to a size (height, width), if the labels have another size than the
            images.

    Returns:
        Logits float N x K x a x b and labels int64 N x a x b, with a x b the size of the labels
        (version ``logits``) or of the view (version ``labels``). Both are unchanged for labels of
        whole images (1 x 1), which no view moves.
    """
    if labels.shape[-2:] == (1, 1):
        return logits, labels
    size = labels.shape[-2], labels.shape[-1]
    if version == "labels":
        return logits, view.labels(resize_labels(labels, grid or size))
    if not view.whole:
        ones = torch.ones_like(logits[:1, :1])
        shown = resize_labels((view.logits(ones) > 0.999)[:, 0], size)
        labels = torch.where(shown.bool(), labels, IGNORE_INDEX)
    logits = view.logits(logits)
    return logits if at is None else at(logits, size), labels
