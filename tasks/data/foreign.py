"""Data sets of registered readers, checked on entry."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import DataItem, Dataset
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.models.outputs import foreign_error
from segtransfer.tasks.schema import shorten

MOST_FOREIGN_CLASSES = 255  # 255 is the ignored value
Result = TypeVar("Result")


def open_reader(spec: DataSpec) -> Dataset:
    """Open the data set of ``spec.reader``.

    Args:
        spec: The data set, with ``reader``.

    Returns:
        The data set; every image and label is checked on reading.

    Raises:
        InputError: If the reader's code is missing, raises an error, or returns no ``Dataset`` with
            2 to 255 class names, a colour per class, and ``DataItem``.
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
            raise InputError(
                f"{who} returned the label of {item.image_id} as {_named(label)}; return an "
                "integer array H x W"
            )
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
    """Return a data set with items and palette as tuples, to read more than once."""
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
    """Return the fault of a foreign data set, as the end of a sentence; empty without."""
    if not isinstance(dataset, Dataset):
        return f"returned {type(dataset).__name__}; return a segtransfer.extend.Dataset"
    classes = dataset.classes
    if not isinstance(classes, tuple) or not all(isinstance(c, str) and c for c in classes):
        return f"returned classes {shorten(repr(classes))}; return a tuple of names"
    if not 2 <= len(classes) <= MOST_FOREIGN_CLASSES:
        return f"returned {len(classes)} classes; return 2 to {MOST_FOREIGN_CLASSES}"
    if len(dataset.palette) != len(classes):
        return (
            f"returned {len(dataset.palette)} colours for {len(classes)} classes; use "
            "palette_for(len(classes), ())"
        )
    if not all(isinstance(item, DataItem) for item in dataset.items):
        kinds = sorted({type(item).__name__ for item in dataset.items})
        return f"returned items of {', '.join(kinds)}; return segtransfer.extend.DataItem alone"
    return ""


def _named(image: Any) -> str:
    if isinstance(image, np.ndarray):
        return f"{image.dtype} {' x '.join(map(str, image.shape))}"
    return type(image).__name__
