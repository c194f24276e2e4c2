"""Data sets: their items, and how an image and its label reach the common grid."""

import colorsys
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.tasks.data.names import composed
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.image_files import read_image
from segtransfer.tasks.labels import IGNORE_INDEX, class_indices


@dataclass(frozen=True)
class DataItem:
    """One labelled image.

    Attributes:
        image_id: The id, unique in the data set.
        sequence: The video sequence of the image; its id if none is known.
        image: The file of the image.
        label: The file of the label.
    """

    image_id: str
    sequence: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Dataset:
    """Items of one class list.

    Attributes:
        name: The name in results.
        classes: The class names, by index; in Unicode's composed normal form.
        palette: An RGB colour per class, 0 to 255.
        items: The labelled images.
        read_label: Returns the class indices of an item, H x W, 255 ignored.
        read_image: Returns the pixels of an item, uint8 H x W x 3, RGB.
        resize: The resize of the data's own test pipeline, from and to uint8 H x W x 3.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    items: tuple[DataItem, ...]
    read_label: Callable[[DataItem], np.ndarray]
    read_image: Callable[[DataItem], np.ndarray] = lambda item: read_image(item.image)
    resize: Callable[[np.ndarray], np.ndarray] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(map(composed, self.classes)))

    def indices(self, item: DataItem) -> np.ndarray:
        """Read and check the label of an item.

        Returns:
            The class indices, uint8 H x W, 255 ignored.

        Raises:
            InputError: If a value is neither a class nor 255.
        """
        return class_indices(self.read_label(item), len(self.classes), f"label {item.label}")


def sequence_of(image_id: str, pattern: str) -> str:
    """Return the first group of a pattern in an image's id, or the id if nothing matches."""
    match = re.search(pattern, image_id)
    return image_id if match is None or match.group(1) is None else match.group(1)


def video_of(image_id: str, several: bool) -> str:
    """Return the folder in an image's id if there are several folders, otherwise the id.

    Cityscapes and most video sets keep the images of a sequence in one folder. If all images are in
    one folder, the folder tells nothing about sequences.
    """
    return str(PurePosixPath(image_id).parent) if several else image_id


def load(dataset: Dataset, item: DataItem, spec: DataSpec) -> tuple[np.ndarray, np.ndarray]:
    """Read an image and its label, on the spec's grid.

    Args:
        dataset: The data set of the item.
        item: The labelled image.
        spec: ``size`` and ``fit`` of the grid.

    Returns:
        The image, uint8 3 x H x W, RGB; and its label, uint8 h x w, 255 ignored. They differ in
        size if ``spec.fit`` is ``pipeline``: the label keeps its native size.

    Raises:
        InputError: If a file is unreadable, image and label differ in size, or a label value is
            neither a class nor 255.
    """
    image = dataset.read_image(item)
    label = dataset.indices(item)
    if label.shape != image.shape[:2]:
        raise InputError(
            f"image {item.image} is {image.shape[0]} x {image.shape[1]} (height x width), its "
            f"label {item.label} is {' x '.join(map(str, label.shape))}; they must agree"
        )
    if spec.size is not None:
        image, label = fit_to(image, label, spec.size, spec.fit)
    elif spec.fit == "pipeline" and dataset.resize is not None:
        image = dataset.resize(image)
    return np.ascontiguousarray(image.transpose(2, 0, 1)), label


def palette_for(count: int, given: Sequence[Sequence[int]]) -> tuple[tuple[int, int, int], ...]:
    """Return an RGB colour, 0 to 255, per class: the given ones, or evenly spread hues.

    Args:
        count: The number of classes.
        given: RGB colours; not used unless there is one per class.
    """
    if len(given) == count:
        return tuple((r, g, b) for r, g, b in given)
    hues = (colorsys.hsv_to_rgb(i / count, 0.65, 0.55 + 0.4 * (i % 2)) for i in range(count))
    return tuple((int(255 * r), int(255 * g), int(255 * b)) for r, g, b in hues)


def fit_to(
    image: np.ndarray, label: np.ndarray, size: tuple[int, int], fit: str
) -> tuple[np.ndarray, np.ndarray]:
    """Bring an image (bilinear, antialiased) and its label (nearest) to a size.

    Args:
        image: uint8 H x W x 3.
        label: uint8 H x W.
        size: Height and width, in pixels.
        fit: ``resize`` ignores the aspect ratio; ``crop`` scales until the image covers the grid,
            and cuts the centre; ``pad`` scales until the image fits, and pads right and below,
            black and 255.

    Returns:
        The image and its label, on the grid.
    """
    height, width = size
    ratios = height / image.shape[0], width / image.shape[1]
    if fit != "resize":
        ratio = max(ratios) if fit == "crop" else min(ratios)
        ratios = ratio, ratio
    scaled = max(1, round(image.shape[0] * ratios[0])), max(1, round(image.shape[1] * ratios[1]))
    if scaled != image.shape[:2]:
        wh = scaled[1], scaled[0]
        image = np.asarray(Image.fromarray(image).resize(wh, Image.Resampling.BILINEAR))
        label = np.asarray(Image.fromarray(label).resize(wh, Image.Resampling.NEAREST))
    if fit == "crop":
        top, left = (scaled[0] - height) // 2, (scaled[1] - width) // 2
        cut = np.s_[top : top + height, left : left + width]
        image, label = image[cut], label[cut]
    elif fit == "pad":
        below, right = height - scaled[0], width - scaled[1]
        image = np.pad(image, ((0, below), (0, right), (0, 0)))
        label = np.pad(label, ((0, below), (0, right)), constant_values=IGNORE_INDEX)
    return image, label
