"""Data sets: their items, and how an image and its label reach the common grid."""

import colorsys
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.labels import IGNORE_INDEX


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
        classes: The class names, by index.
        palette: An RGB colour per class, 0 to 255.
        items: The labelled images.
        read_label: Returns the class indices of an item, H x W, 255 ignored.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    items: tuple[DataItem, ...]
    read_label: Callable[[DataItem], np.ndarray]


def sequence_of(image_id: str, pattern: str) -> str:
    """Return the first group of a pattern in an image's id, or the id if nothing matches."""
    match = re.search(pattern, image_id)
    return image_id if match is None or match.group(1) is None else match.group(1)


def load(dataset: Dataset, item: DataItem, spec: DataSpec) -> tuple[np.ndarray, np.ndarray]:
    """Read an image and its label, on the spec's grid.

    Args:
        dataset: The data set of the item.
        item: The labelled image.
        spec: ``size`` and ``fit`` of the grid.

    Returns:
        The image, uint8 3 x H x W, RGB; and its label, uint8 H x W, 255 ignored.

    Raises:
        InputError: If a file is unreadable, image and label differ in size, or a label value is
            neither a class nor 255.
    """
    image = read_image(item.image)
    label = read_checked_label(dataset, item)
    if label.shape != image.shape[:2]:
        raise InputError(
            f"image {item.image} is {image.shape[0]} x {image.shape[1]} (height x width), its "
            f"label {item.label} is {' x '.join(map(str, label.shape))}; they must agree"
        )
    if spec.size is not None:
        image, label = fit_to(image, label.astype(np.uint8), spec.size, spec.fit)
    return np.ascontiguousarray(image.transpose(2, 0, 1)), label.astype(np.uint8)


def read_checked_label(dataset: Dataset, item: DataItem) -> np.ndarray:
    """Read the label of an item.

    Raises:
        InputError: If a value is neither a class nor 255.
    """
    label = dataset.read_label(item)
    values = np.unique(label)
    wrong = values[(values >= len(dataset.classes)) & (values != IGNORE_INDEX)]
    if wrong.size:
        raise InputError(
            f"label {item.label} has values {wrong[:8].tolist()}; allowed are 0 to "
            f"{len(dataset.classes) - 1} (the {len(dataset.classes)} classes) and 255 (ignored)"
        )
    return label


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


def read_image(path: Path) -> np.ndarray:
    """Read an image file as RGB, uint8 H x W x 3.

    Raises:
        InputError: If the file cannot be read.
    """
    try:
        with Image.open(path) as file:
            return np.asarray(file.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"image {path} cannot be read: {error}") from error


def read_index_map(path: Path, what: str = "label") -> np.ndarray:
    """Read a file with one number per pixel, for example the class indices of a label.

    Args:
        path: A grey or palette image.
        what: The name of the file's role in error messages.

    Returns:
        The numbers, H x W.

    Raises:
        InputError: If the file cannot be read or has several channels.
    """
    try:
        with Image.open(path) as file:
            array = np.asarray(file)
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{what} {path} cannot be read: {error}") from error
    if array.ndim != 2:
        raise InputError(
            f"{what} {path} has {array.ndim} dimensions; it must hold one number a pixel, as a "
            "label its class (a grey or palette PNG), not colours"
        )
    return array


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
