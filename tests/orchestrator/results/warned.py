"""Toys whose numbers mean little, and images whose right answer is known."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from segtransfer.experiment.reading import read_experiment
from segtransfer.experiment.spec import Experiment

CLASSES = ["low", "middle", "high"]
SIZE = 16, 20


class Levels(nn.Module):
    """A pixel is class k if its red value is 40 k."""

    def __init__(self, num_classes: int, gain: float = 100.0) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.gain = nn.Parameter(torch.tensor(gain))
        self.register_buffer("centres", torch.arange(num_classes) * 40.0 / 255)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return -self.gain * (images[:, :1] - self.centres.view(1, -1, 1, 1)) ** 2


class Rounded(Levels):
    """Levels without a gradient, for images whose first pixel is above ``above`` of 255 only."""

    def __init__(self, num_classes: int, above: int) -> None:
        super().__init__(num_classes)
        self.above = above

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first = images[:, 2:, :1, :1] * 255 > self.above
        return super().forward(torch.where(first, (images * 255).round() / 255, images))


class Constant(Levels):
    """Class ``index`` everywhere, with a gradient."""

    def __init__(self, num_classes: int, index: int) -> None:
        super().__init__(num_classes)
        self.index = index

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = 0.01 * super().forward(images)
        return logits + 10 * (torch.arange(self.num_classes) == self.index).view(1, -1, 1, 1)


def levels(num_classes: int = 3, gain: float = 100.0) -> Levels:
    return Levels(num_classes, gain)


def rounded(num_classes: int = 3, above: int = -1) -> Rounded:
    return Rounded(num_classes, above)


def constant(num_classes: int = 3, index: int = 0) -> Constant:
    return Constant(num_classes, index)


def toy(name: str, function: str = "levels", **arguments: Any) -> dict[str, Any]:
    callable_ = f"tests.orchestrator.results.warned:{function}"
    return {"name": name, "torch": {"callable": callable_, "arguments": arguments}}


def write_levels(
    folder: Path, *, count: int = 6, shown: tuple[int, ...] = (0, 1, 2), labels: Any = None
) -> Path:
    """Write images of the ``shown`` classes. The first pixel of image i is blue, 40 i of 255.

    Args:
        folder: The folder of images/ and labels/.
        count: The number of images.
        shown: The classes in the images.
        labels: A function from classes H x W to label values.
    """
    generator = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        classes = generator.choice(shown, SIZE).astype(np.uint8)
        image = np.zeros((*SIZE, 3), np.uint8)
        image[..., 0] = 40 * classes + 5
        image[0, 0, 2] = 40 * number
        label = classes if labels is None else labels(classes).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"image-{number}.png")
        Image.fromarray(label).save(folder / "labels" / f"image-{number}.png")
    return folder


def warned_experiment(folder: Path, **changes: Any) -> Experiment:
    """Levels on its own images under PGD, two images a shard at most, inline and not tracked."""
    if not (folder / "data").exists():
        write_levels(folder / "data")
    return read_experiment(
        {
            "name": "warned",
            "data": {"folder": str(folder / "data"), "classes": CLASSES},
            "models": [toy("m")],
            "attacks": [{"preset": "pgd", "eps": "8/255", "steps": 4}],
            "shard_size": 2,
            "runtime": {
                "store": str(folder / "store"),
                "executor": "inline",
                "tracking": False,
            },
            **changes,
        }
    )
