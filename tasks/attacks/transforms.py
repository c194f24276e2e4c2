"""Input transforms: each returns the image the model sees and how logits and labels follow it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from tasks.attacks.spec import DynamicScaling
from tasks.randomness import uniform


@dataclass(frozen=True)
class Transformed:
    """What a transform made of x_t: ``align(logits, labels)`` brings both to one resolution."""

    images: torch.Tensor
    align: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    ratio: float


def identity(images: torch.Tensor) -> Transformed:
    """The image itself: logits and labels already fit."""
    return Transformed(images, lambda logits, labels: (logits, labels), 1.0)


def snap(height: int, width: int, ratio: float, divisor: int) -> tuple[int, int]:
    """The scaled size nearest to ratio * (height, width) that ``divisor`` divides, at least one
    divisor; a ratio of 1 keeps the native size whatever the divisor."""
    if ratio == 1.0:
        return height, width

    def nearest(length: int) -> int:
        return max(divisor, round(length * ratio / divisor) * divisor)

    return nearest(height), nearest(width)


def dynamic_scaling(
    images: torch.Tensor, spec: DynamicScaling, draw: float, divisor: int
) -> Transformed:
    """S_r with r = low + width * draw: bilinear resize of the whole image, gradient through it.

    ``images`` N x 3 x H x W in [0, 1]; ``draw`` in [0, 1) is the schedule's number for this step;
    ``divisor`` is the model's own. The realised ratio sqrt(h w / H W) is reported.
    """
    height, width = images.shape[-2:]
    size = snap(height, width, spec.low + spec.width * draw, divisor)
    scaled = F.interpolate(images, size=size, mode="bilinear", align_corners=False)

    def align(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if spec.label_version == "logits":
            native = labels.shape[-2:]
            return F.interpolate(logits, size=native, mode="bilinear", align_corners=False), labels
        # nearest-exact samples at pixel centres, as the bilinear resize of the image does; floats
        # hold every class index exactly.
        small = F.interpolate(labels[:, None].float(), size=size, mode="nearest-exact")
        return logits, small[:, 0].long()

    realised = (size[0] * size[1] / (height * width)) ** 0.5
    return Transformed(scaled, align, realised)


def schedule_draw(seed: int, group: int, step: int) -> float:
    """The number in [0, 1) from which step ``step`` of schedule ``group`` takes its scale."""
    return uniform("scale", seed, group, step)


def expected_cost(spec: DynamicScaling) -> float:
    """E[r^2], the mean cost of one scaled forward in native forwards: 13/12 for U(0.5, 1.5)."""
    low, high = spec.low, spec.low + spec.width
    return (low * low + low * high + high * high) / 3
