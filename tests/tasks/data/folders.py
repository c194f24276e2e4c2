"""Small data sets on disk for the tests of ``tasks.data``."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.tasks.cases import annotations, pictures

CLASSES = ("sky", "road", "tree")


def write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def write_folder(
    root: Path,
    count: int = 3,
    size: tuple[int, int] = (20, 28),
    split: str = "",
    notes: dict[str, object] | None = None,
) -> Path:
    """images/ and labels/ of random content, and a dataset.json; ids are clip0_0, clip0_1, ..."""
    images, labels = pictures(count, *size), annotations(count, *size, len(CLASSES))
    for i in range(count):
        name = f"clip{i // 2}_{i}.png"
        write_image(root / "images" / split / name, images[i].transpose(1, 2, 0))
        write_image(root / "labels" / split / name, labels[i])
    notes = {"classes": CLASSES, "sequence": "^([^_]+)_"} if notes is None else notes
    (root / "dataset.json").write_text(json.dumps(notes))
    return root
