"""Results with chosen predictions: a plan on toys, whose store is filled by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segtransfer.results import Results
from segtransfer.runtime.runner import carry_out
from tests.orchestrator.toy_experiments import toy_experiment

CLASSES = ["road", "sky", "tree"]


def write_labelled(folder: Path, labels: list[np.ndarray]) -> Path:
    """Write images whose red value is 40 times the class of the label, as the toy ``levels``
    predicts; ignored pixels are black."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number, label in enumerate(labels):
        image = np.zeros((*label.shape, 3), np.uint8)
        image[..., 0] = np.where(label == 255, 0, 40 * label)
        image[..., 1] = number  # no two images are equal
        Image.fromarray(image).save(folder / "images" / f"image-{number:02}.png")
        Image.fromarray(label.astype(np.uint8)).save(folder / "labels" / f"image-{number:02}.png")
    return folder


def run_levels(
    folder: Path, labels: list[np.ndarray], changed: Callable[[int, np.ndarray], np.ndarray]
) -> Results:
    """Run an experiment on a network that is right on every clean pixel.

    Args:
        folder: An empty folder.
        labels: The label of each image, 255 is ignored.
        changed: Returns the class predicted on the AE of each pixel, from the image's number and
            label. The AEs are files made elsewhere.
    """
    data = write_labelled(folder / "data", labels)
    made = folder / "aes"
    made.mkdir()
    for number, label in enumerate(labels):
        with Image.open(data / "images" / f"image-{number:02}.png") as opened:
            image = np.array(opened)
        image[..., 0] = 40 * changed(number, label)
        Image.fromarray(image).save(made / f"image-{number:02}.png")
    model: dict[str, Any] = {
        "name": "levels",
        "torch": {
            "callable": "tests.orchestrator.results.warned:levels",
            "arguments": {"num_classes": 3},
        },
    }
    attack = {"name": "made", "files": str(made), "eps": 1.0}
    spec = toy_experiment(folder, models=[model], attacks=[attack], shard_size=4)
    return carry_out(spec)
