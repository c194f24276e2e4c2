"""What the tests of ``tasks`` share: toys behind the torch adapter, small images and labels."""

from typing import Any

import numpy as np
import torch

from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.spec import ModelSpec


def toy(function: str, **arguments: Any) -> Segmenter:
    """A toy of ``tests.toys`` as an attack sees it."""
    source = {"callable": f"tests.toys:{function}", "arguments": arguments}
    return adapters.load(ModelSpec.model_validate({"name": "toy", "torch": source}))


def spec(preset: str = "pgd", **fields: Any) -> AttackSpec:
    return AttackSpec.model_validate({"preset": preset, **fields})


def pictures(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Random uint8 images N x 3 x H x W with values at both ends of the box among them."""
    drawn = np.random.default_rng(seed).integers(0, 256, (count, 3, height, width), np.uint8)
    drawn[:, :, 0, 0], drawn[:, :, -1, -1] = 0, 255
    return drawn


def annotations(
    count: int, height: int, width: int, classes: int, seed: int = 0, void: float = 0.2
) -> np.ndarray:
    """Random uint8 labels N x H x W, a share ``void`` of them 255."""
    generator = np.random.default_rng(seed + 1000)
    labels = generator.integers(0, classes, (count, height, width), np.uint8)
    labels[generator.random(labels.shape) < void] = 255
    return labels


def halves(count: int, height: int, width: int) -> np.ndarray:
    """uint8 labels N x H x W: class 0 in the left half, class 1 in the right."""
    return np.broadcast_to(np.arange(width) >= width // 2, (count, height, width)).astype(np.uint8)


def blocks(count: int, height: int, width: int) -> np.ndarray:
    """uint8 labels N x H x W: classes 0 and 1 as a chessboard of 8 x 8 pixels. Where they lie a
    pixel beside their image, an eighth of them is wrong."""
    rows, columns = np.indices((height, width)) // 8
    return np.broadcast_to((rows + columns) % 2, (count, height, width)).astype(np.uint8)


def as_tensors(images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """As ``tasks.attack`` hands them to the loop."""
    return torch.tensor(images).float() / 255, torch.tensor(labels).long()


def ids(count: int) -> list[str]:
    return [f"image-{i}" for i in range(count)]
