"""More models of strangers: each classifies a pixel by its red value and breaks one promise."""

from dataclasses import dataclass
from itertools import count
from typing import Any

import torch

from tests.foreign_models import Levels, changed

MARKED = 77  # the red level at which ``marked`` fails


@dataclass
class Answer:
    """Logits as transformers returns them."""

    logits: torch.Tensor


def fewer() -> Levels:
    return changed(lambda z: z[:, :2])


def listed() -> Levels:
    return changed(lambda z: [z])


def wrapped() -> Levels:
    return changed(Answer)


def counting() -> Levels:
    """Other classes with each forward, without a random number."""
    forwards = count()
    return changed(lambda z: z.roll(next(forwards), 1))


class Spotted(Levels):
    """NaN at pixels of red ``MARKED``, or at all pixels whose red is no multiple of 40."""

    def __init__(self, perturbed: bool) -> None:
        super().__init__()
        self.perturbed = perturbed

    def forward(self, images: torch.Tensor) -> Any:
        red = (images[:, :1] * 255).round()
        spots = red % 40 != 0 if self.perturbed else red == MARKED
        return torch.where(spots, torch.nan, super().forward(images))


def marked() -> Spotted:
    return Spotted(perturbed=False)


def nan_under_attack() -> Spotted:
    return Spotted(perturbed=True)


def saturated() -> Levels:
    """So sure that the gradient of the cross-entropy is 0 in float32."""
    return changed(lambda z: z * 1e6)


def minus_infinity() -> Levels:
    """A class is masked out with -inf."""
    return changed(lambda z: torch.cat([z[:, :2], z[:, 2:] - torch.inf], 1))
