"""Segmenters whose behaviour is known in closed form, for the ``torch`` adapter.

``linear`` classifies each pixel by a linear map of its colour: with two classes the gradient of
the cross-entropy has one constant sign a pixel, so the best L-infinity perturbation is known.
"""

import os
import time
from pathlib import Path

import torch
from torch import nn


class Linear(nn.Module):
    """logits[k] = weights[k] . colour, a pixel at a time; ``delay`` seconds a forward."""

    def __init__(self, weights: list[list[float]], delay: float = 0.0) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights)[:, :, None, None])
        self.num_classes = len(weights)
        self.delay = delay

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        time.sleep(self.delay)
        return nn.functional.conv2d(images, self.weights)


class Convolutional(nn.Module):
    """Two fixed random convolutions with a ReLU between: small, but not linear."""

    def __init__(self, num_classes: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(8, 3, 3, 3, generator=generator))
        self.second = nn.Parameter(torch.randn(num_classes, 8, 3, 3, generator=generator))
        self.num_classes = num_classes

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = nn.functional.conv2d(images - 0.5, self.first, padding=1).relu()
        return nn.functional.conv2d(hidden, self.second, padding=1)


class Mortal(Convolutional):
    """Convolutional, but kills its own process, as with -9, as often as ``folder`` has files."""

    def __init__(self, num_classes: int, seed: int, folder: str) -> None:
        super().__init__(num_classes, seed)
        self.folder = Path(folder)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        warming_up = bool(images.eq(0).all())
        for token in () if warming_up else self.folder.iterdir():
            token.unlink()
            os.kill(os.getpid(), 9)
        return super().forward(images)


class Failing(Convolutional):
    """Convolutional, but raises on any image whose first value is above one half."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if (images[:, 0, 0, 0] > 0.5).any():
            raise RuntimeError("this toy fails on bright corners")
        return super().forward(images)


def linear(**arguments: object) -> Linear:
    return Linear(**arguments)  # type: ignore[arg-type]


def convolutional(num_classes: int = 3, seed: int = 0) -> Convolutional:
    return Convolutional(num_classes, seed)


def mortal(folder: str, num_classes: int = 3, seed: int = 0) -> Mortal:
    return Mortal(num_classes, seed, folder)


def failing(num_classes: int = 3, seed: int = 0) -> Failing:
    return Failing(num_classes, seed)
