"""Crops of labelled images with a dominant class: data for classifiers."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import DataItem, Dataset
from segtransfer.tasks.data.spec import Crops
from segtransfer.tasks.labels import IGNORE_INDEX
from segtransfer.tasks.randomness import uniform

MOST_PLACES = 16  # places tried per crop asked for

Box = tuple[slice, slice]  # rows and columns of a crop


def cut_crops(dataset: Dataset, crops: Crops) -> Dataset:
    """Return the crops of a data set's images that have a dominant class.

    All labels are read. A crop has the video sequence of its image, so that intervals treat the
    crops of an image as a cluster.

    Args:
        dataset: The data set, with a class per pixel.
        crops: Size, number per image and share of the dominant class.

    Returns:
        Classes of pixels and of images. Ids are ``ID-cropN``, N from 0.

    Raises:
        InputError: If images alone have a class, a crop exceeds an image, or no crop has a dominant
            class.
    """
    if "pixels" not in dataset.labels_of:
        raise InputError(
            f"data.crops needs a class per pixel, and {dataset.name} has a class per image; leave "
            "data.crops out"
        )
    items, places = list[DataItem](), dict[str, tuple[DataItem, Box]]()
    for item in dataset.items:
        for number, box in enumerate(_boxes(dataset, item, crops)):
            crop = replace(item, image_id=f"{item.image_id}-crop{number}")
            items.append(crop)
            places[crop.image_id] = item, box
    if not items:
        raise InputError(
            f"no crop of {dataset.name} has a class on {crops.min_share:.0%} of its pixels; give a "
            "smaller size or min_share in data.crops"
        )

    def read_label(crop: DataItem) -> np.ndarray:
        item, box = places[crop.image_id]
        return dataset.indices(item)[box]

    def read_image(crop: DataItem) -> np.ndarray:
        item, box = places[crop.image_id]
        return dataset.read_image(item)[box]

    return replace(
        dataset,
        name=f"{dataset.name}-crops",
        items=tuple(items),
        read_label=read_label,
        read_image=read_image,
        labels_of=("pixels", "images"),
    )


def _boxes(dataset: Dataset, item: DataItem, crops: Crops) -> Iterator[Box]:
    """Yield the places of an image's crops, at most ``per_image``."""
    label = dataset.indices(item)
    height, width = crops.size
    if height > label.shape[0] or width > label.shape[1]:
        raise InputError(
            f"data.crops.size is {list(crops.size)}, and image {item.image} is {label.shape[0]} x "
            f"{label.shape[1]} (height x width); give a size of at most the image's"
        )
    found = 0
    for draw in range(MOST_PLACES * crops.per_image):
        top, left = (
            int(uniform(f"crop {side}", item.image_id, draw) * (length - cut + 1))
            for side, length, cut in (
                ("top", label.shape[0], height),
                ("left", label.shape[1], width),
            )
        )
        box = slice(top, top + height), slice(left, left + width)
        pixels = np.bincount(label[box].ravel(), minlength=IGNORE_INDEX + 1)[:IGNORE_INDEX]
        if pixels.max() >= crops.min_share * height * width:
            yield box
            found += 1
        if found == crops.per_image:
            return
