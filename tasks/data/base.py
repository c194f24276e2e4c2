"""Data sets: their items, and the resize of images and labels to the common grid."""

import colorsys
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.tasks.data.names import composed
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.image_files import read_image
from segtransfer.tasks.labels import IGNORE_INDEX, class_indices


@dataclass(frozen=True)
class DataItem:
    """A labelled image.

        DataItem("clip1/007", "clip1", Path("images/clip1/007.png"), Path("labels/clip1/007.png"))

    Attributes:
        image_id: The id, unique in the data set; it seeds the image's noise and schedule group.
        sequence: The video sequence of the image, the cluster of intervals; the id if unknown.
        image: The file of the image.
        label: The file of the label.
    """

    image_id: str
    sequence: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Dataset:
    """The labelled images of a data set, with a class list; pixels are read later.

    Attributes:
        name: The name in results.
        classes: The class names by index, 2 to 255; stored in Unicode's composed normal form.
        palette: An RGB colour per class, three numbers from 0 to 255; see ``palette_for``.
        items: The labelled images, in a fixed order.
        read_label: A function from an item to its class indices, an integer array H x W; 255 marks
            ignored pixels.
        read_image: A function from an item to its pixels, uint8 H x W x 3, RGB, of the label's H
            and W. By default ``read_image`` of the item's file.
        resize: The resize of the data's own test pipeline, from and to uint8 H x W x 3, used by
            ``fit: pipeline``. Default None.
        faults: A sentence per image left out because its label is missing. Default none.
        labels_of: The things with a class: ``pixels``, ``images`` (labels 1 x 1), or both (the
            class of an image is the class of most pixels). Default pixels.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    items: tuple[DataItem, ...]
    read_label: Callable[[DataItem], np.ndarray]
    read_image: Callable[[DataItem], np.ndarray] = lambda item: read_image(item.image)
    resize: Callable[[np.ndarray], np.ndarray] | None = None
    faults: tuple[str, ...] = ()
    labels_of: tuple[Literal["pixels", "images"], ...] = ("pixels",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(map(composed, self.classes)))

    def indices(self, item: DataItem) -> np.ndarray:
        """Read and check the label of an item.

        Args:
            item: An item of this data set.

        Returns:
            The class indices, uint8 H x W, 255 ignored.

        Raises:
            InputError: If the label cannot be read, or a value is neither a class index nor 255.
        """
        return class_indices(self.read_label(item), len(self.classes), f"label {item.label}")


def sequence_of(image_id: str, pattern: str) -> str:
    """Return the video sequence in an image's id.

    Args:
        image_id: The id.
        pattern: A regular expression with a group, searched in the id.

    Returns:
        The first group; the whole id if the pattern or the group does not match.
    """
    match = re.search(pattern, image_id)
    return image_id if match is None or match.group(1) is None else match.group(1)


def video_of(image_id: str, several: bool) -> str:
    """Return the default video sequence of an image: the folder in its id.

    Cityscapes and most video sets have a folder per sequence. A single folder for all images tells
    nothing about sequences.

    Args:
        image_id: The id, a relative path without suffix.
        several: Whether the images of the data set are in several folders.

    Returns:
        The folder, or the id if all images are in a single folder.
    """
    return str(PurePosixPath(image_id).parent) if several else image_id


def load(dataset: Dataset, item: DataItem, spec: DataSpec) -> tuple[np.ndarray, np.ndarray]:
    """Read an image and its label, and resize both to the spec's grid.

    Args:
        dataset: The data set of the item.
        item: The labelled image.
        spec: ``size`` and ``fit`` of the grid.

    Returns:
        The image, uint8 3 x H x W, RGB; and its label, uint8 h x w, 255 ignored. The sizes are
        equal unless ``spec.fit`` is ``pipeline``, which keeps the label's native size, or images
        alone have a class (1 x 1).

    Raises:
        InputError: If a file cannot be read, image and label differ in native size, or a label
            value is neither a class index nor 255.
    """
    return on_grid(dataset, *read_pair(dataset, item), spec)


def read_pair(dataset: Dataset, item: DataItem) -> tuple[np.ndarray, np.ndarray]:
    """Read an image and its label at their native size.

    Args:
        dataset: The data set of the item.
        item: The labelled image.

    Returns:
        The image, uint8 H x W x 3, RGB; and its label, uint8 H x W (1 x 1 if images alone have a
        class), 255 ignored.

    Raises:
        InputError: As ``load`` does.
    """
    image = dataset.read_image(item)
    label = dataset.indices(item)
    if dataset.labels_of == ("images",):
        if label.shape != (1, 1):
            raise InputError(
                f"label {item.label} is {' x '.join(map(str, label.shape))}, and each image of "
                f"{dataset.name} has one class; give a label of 1 x 1"
            )
        return image, label
    if label.shape != image.shape[:2]:
        raise InputError(
            f"image {item.image} is {image.shape[0]} x {image.shape[1]} (height x width), its "
            f"label {item.label} is {' x '.join(map(str, label.shape))}; give a label of the "
            "image's size"
        )
    return image, label


def on_grid(
    dataset: Dataset, image: np.ndarray, label: np.ndarray, spec: DataSpec
) -> tuple[np.ndarray, np.ndarray]:
    """Resize an image and its label to the spec's grid.

    Args:
        dataset: The data set, for its ``resize``.
        image: uint8 H x W x 3, RGB.
        label: uint8 H x W.
        spec: ``size`` and ``fit`` of the grid.

    Returns:
        The image, uint8 3 x H x W, and the label, as ``load`` returns them.
    """
    if spec.size is not None and label.shape == (1, 1):
        image, _ = fit_to(image, np.zeros_like(image[..., 0]), spec.size, spec.fit)
    elif spec.size is not None:
        image, label = fit_to(image, label, spec.size, spec.fit)
    elif spec.fit == "pipeline" and dataset.resize is not None:
        image = dataset.resize(image)
    return np.ascontiguousarray(image.transpose(2, 0, 1)), label


def palette_for(count: int, given: Sequence[Sequence[int]]) -> tuple[tuple[int, int, int], ...]:
    """Return an RGB colour per class.

    Args:
        count: The number of classes.
        given: RGB colours from 0 to 255, used if their number is ``count``; otherwise ignored.

    Returns:
        ``count`` colours, three numbers from 0 to 255 each: the given colours, or evenly spread
        hues.
    """
    if len(given) == count:
        return tuple((r, g, b) for r, g, b in given)
    hues = (colorsys.hsv_to_rgb(i / count, 0.65, 0.55 + 0.4 * (i % 2)) for i in range(count))
    return tuple((int(255 * r), int(255 * g), int(255 * b)) for r, g, b in hues)


def fit_to(
    image: np.ndarray, label: np.ndarray, size: tuple[int, int], fit: str
) -> tuple[np.ndarray, np.ndarray]:
    """Resize an image (bilinear, antialiased) and its label (nearest neighbour).

    Args:
        image: uint8 H x W x 3.
        label: uint8 H x W.
        size: Height and width, in pixels.
        fit: ``resize`` ignores the aspect ratio; ``crop`` scales until the image covers the grid,
            and cuts the centre; ``pad`` scales until the image fits, and pads right and below with
            black pixels and label 255.

    Returns:
        The image, uint8 h x w x 3, and its label, uint8 h x w, with h x w = ``size``.
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
