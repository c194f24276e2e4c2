"""Draw ten street scenes of 96 x 64 pixels into street/images, and their labels into street/labels.

Classes are sky, road, tree and car. Label 255 marks the pixels around a car as ignored.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = {
    "sky": (140, 150, 165),
    "road": (118, 118, 122),
    "tree": (104, 122, 100),
    "car": (138, 112, 108),
}
HEIGHT, WIDTH = 64, 96


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (uint8, H x W x 3) and its label (uint8, H x W)."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    label = np.where(rows < random.integers(26, 34), 0, 1).astype(np.uint8)
    for _ in range(random.integers(2, 5)):
        row, column, radius = (
            random.integers(20, 34),
            random.integers(WIDTH),
            random.integers(7, 13),
        )
        label[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = 2
    for _ in range(random.integers(1, 3)):
        top, left = random.integers(34, 48), random.integers(4, WIDTH - 28)
        height, width = random.integers(9, 13), random.integers(16, 24)
        label[top - 1 : top + height + 1, left - 1 : left + width + 1] = 255
        label[top : top + height, left : left + width] = 3
    colours = np.array([*CLASSES.values()], float)
    image = colours[np.where(label == 255, 1, label)]
    image = image * random.uniform(0.95, 1.05) + random.normal(0, 12, image.shape)
    return image.clip(0, 255).round().astype(np.uint8), label


if __name__ == "__main__":
    for number in range(10):
        for kind, pixels in zip(("images", "labels"), draw(number), strict=True):
            path = Path("street", kind, f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    palette = [list(colour) for colour in CLASSES.values()]
    Path("street/dataset.json").write_text(json.dumps({"classes": [*CLASSES], "palette": palette}))
    print("10 images in street/images, 10 labels in street/labels")
