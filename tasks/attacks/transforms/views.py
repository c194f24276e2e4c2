"""What a model is shown instead of an image, and how logits and labels meet again."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.labels import IGNORE_INDEX

TensorMap = Callable[[torch.Tensor], torch.Tensor]
HeightWidth = tuple[int, int]


def same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


@dataclass(frozen=True)
class View:
    """Images as a model sees them, N x 3 x h x w.

    ``labels`` takes native labels along (nearest neighbour, 255 where no label is); ``logits``
    brings seen logits back to native resolution (bilinear); ``whole`` tells whether the view shows
    all of the image. ``ratio`` is the realised scale, 1 where the size of things is untouched.
    """

    images: torch.Tensor
    labels: TensorMap = same
    logits: TensorMap = same
    whole: bool = True
    ratio: float = 1.0


@dataclass(frozen=True)
class TransformContext:
    """What a transform may need besides the images: the model's size divisor, the draws of this
    step, and the clean images of the whole shard with their ids."""

    divisor: int
    random: StepRandom
    shard: torch.Tensor
    shard_ids: tuple[str, ...]


def then(first: View, second: View) -> View:
    """The view of a view; ``second`` was made of ``first.images``."""
    return View(
        images=second.images,
        labels=lambda labels: second.labels(first.labels(labels)),
        logits=lambda logits: first.logits(second.logits(logits)),
        whole=first.whole and second.whole,
        ratio=first.ratio * second.ratio,
    )


def resize(images: torch.Tensor, size: HeightWidth, *, antialias: bool = False) -> View:
    """Bilinear resize to ``size``, differentiable; labels follow by nearest neighbour."""
    native = images.shape[-2:]

    def labels(labels: torch.Tensor) -> torch.Tensor:
        # nearest-exact samples at pixel centres, as the bilinear resize of the image does; floats
        # hold every class index exactly.
        return F.interpolate(labels[:, None].float(), size=size, mode="nearest-exact")[:, 0].long()

    def logits(logits: torch.Tensor) -> torch.Tensor:
        return F.interpolate(logits, size=native, mode="bilinear", align_corners=False)

    seen = F.interpolate(
        images, size=size, mode="bilinear", align_corners=False, antialias=antialias
    )
    ratio = (size[0] * size[1] / (native[0] * native[1])) ** 0.5
    return View(seen, labels, logits, ratio=ratio)


def window(images: torch.Tensor, size: HeightWidth, top: int, left: int) -> View:
    """A canvas of ``size`` with the image's corner at (top, left): zeros (labels: 255) where the
    image does not reach, cut where it reaches beyond."""
    height, width = images.shape[-2:]
    pads = (left, size[1] - width - left, top, size[0] - height - top)
    back = tuple(-pad for pad in pads)
    return View(
        images=F.pad(images, pads),
        labels=lambda labels: F.pad(labels, pads, value=IGNORE_INDEX),
        logits=lambda logits: F.pad(logits, back),
        whole=min(pads) >= 0,
    )


def snap(height: int, width: int, ratios: tuple[float, float], divisor: int) -> HeightWidth:
    """The size nearest to the ratios of (height, width) that ``divisor`` divides, at least one
    divisor; a ratio of 1 keeps the native length whatever the divisor."""

    def nearest(length: int, ratio: float) -> int:
        if ratio == 1.0:
            return length
        return max(divisor, round(length * ratio / divisor) * divisor)

    return nearest(height, ratios[0]), nearest(width, ratios[1])


def align(
    view: View, logits: torch.Tensor, labels: torch.Tensor, version: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring logits of a view and native labels together.

    ``logits``: the logits go back to native resolution, and pixels that the view does not show
    are 255; ``labels``: the labels go where the image went.
    """
    if version == "labels":
        return logits, view.labels(labels)
    if not view.whole:
        ones = torch.ones_like(logits[:1, :1])
        shown = view.logits(ones) > 0.999
        labels = torch.where(shown[:, 0], labels, IGNORE_INDEX)
    return view.logits(logits), labels
