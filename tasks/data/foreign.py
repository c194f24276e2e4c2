"""Data sets that a registered ``ReaderSpec`` opens, checked as they enter."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import DataItem, Dataset
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.models.outputs import foreign_error

MOST_FOREIGN_CLASSES = 255  # 255 is the ignored value
Result = TypeVar("Result")


def open_reader(spec: DataSpec) -> Dataset:
    """Open the data set of ``spec.reader``.

    Returns:
        The data set; its images and labels are checked as they are read.

    Raises:
        InputError: If the reader's code is missing, raises an error, or returns no ``Dataset`` of
            two to 255 named classes, a colour each, and items.
    """
    reader = spec.reader
    assert reader is not None
    who = f"reader '{reader.kind}'"
    dataset: Any = _told(who, lambda: _whole(reader.open(spec.split)))
    if problem := _problem(dataset):
        raise InputError(f"{who} {problem}")

    def read_label(item: DataItem) -> np.ndarray:
        label: Any = _told(f"{who}, label of {item.image_id},", lambda: dataset.read_label(item))
        if not isinstance(label, np.ndarray) or label.ndim != 2:
            raise InputError(f"{who} returned no array H x W as the label of {item.image_id}")
        return label

    def read_image(item: DataItem) -> np.ndarray:
        image: Any = _told(f"{who}, image {item.image_id},", lambda: dataset.read_image(item))
        fits = isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3
        if not fits or image.dtype != np.uint8 or 0 in image.shape:
            raise InputError(
                f"{who} returned image {item.image_id} as {_named(image)}; return uint8 H x W x 3, "
                "RGB"
            )
        return image

    return replace(dataset, read_label=read_label, read_image=read_image)


def _whole(dataset: Any) -> Any:
    """Return a data set whose items and palette may be read more than once."""
    if not isinstance(dataset, Dataset):
        return dataset
    return replace(dataset, items=tuple(dataset.items), palette=tuple(dataset.palette))


def _told(who: str, call: Callable[[], Result]) -> Result:
    """Return the result of foreign code, which may raise anything."""
    try:
        return call()
    except Exception as error:
        told = foreign_error(error, who)
        if told is error:
            raise
        raise told from error


def _problem(dataset: Any) -> str:
    """Return what is wrong with a foreign data set; empty if nothing is."""
    if not isinstance(dataset, Dataset):
        return f"returned {type(dataset).__name__}; return a Dataset of segtransfer.extend"
    classes = dataset.classes
    if not isinstance(classes, tuple) or not all(isinstance(c, str) and c for c in classes):
        return "returned classes that are no tuple of names"
    if not 2 <= len(classes) <= MOST_FOREIGN_CLASSES:
        return f"returned {len(classes)} classes; 2 to {MOST_FOREIGN_CLASSES} are possible"
    if len(dataset.palette) != len(classes):
        return (
            f"returned {len(dataset.palette)} colours for {len(classes)} classes; use palette_for"
        )
    if not all(isinstance(item, DataItem) for item in dataset.items):
        return "returned items that are no DataItem of segtransfer.extend"
    return ""


def _named(image: Any) -> str:
    if isinstance(image, np.ndarray):
        return f"{image.dtype} {' x '.join(map(str, image.shape))}"
    return type(image).__name__
