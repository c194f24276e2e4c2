"""Quarters of objects by area: components of the labels, and recall per quarter."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import ndimage

from segtransfer.tasks.labels import IGNORE_INDEX

QUARTERS = ("smallest", "small", "large", "largest")


def objects(label: np.ndarray, num_classes: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Find the objects of a label image: 4-connected components of each class.

    Args:
        label: uint8 H x W.
        num_classes: The number K of classes.

    Returns:
        The object of each pixel, int64 H x W, counted from 0 within its class (0 for pixels without
        a class); and K int arrays with the areas of the objects in pixels.
    """
    which = np.zeros(label.shape, np.int64)
    areas = []
    for index in range(num_classes):
        mask = label == index
        parts, count = ndimage.label(mask)
        which[mask] = parts[mask] - 1
        areas.append(np.bincount(parts[mask] - 1, minlength=count))
    return which, areas


def quarter_edges(
    labels: Iterable[np.ndarray], num_classes: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Cut the objects of each class into quarters by area.

    Args:
        labels: uint8 H x W each, read once.
        num_classes: The number K of classes.

    Returns:
        K arrays with the three areas between the quarters, empty without objects; and four arrays
        with the areas of all objects of a quarter, in pixels.
    """
    by_class: list[list[np.ndarray]] = [[] for _ in range(num_classes)]
    for label in labels:
        for found, areas in zip(by_class, objects(label, num_classes)[1], strict=True):
            found.append(areas)
    edges: list[np.ndarray] = []
    by_quarter: list[list[np.ndarray]] = [[] for _ in QUARTERS]
    for found in by_class:
        every = np.concatenate(found)
        edges.append(np.quantile(every, [0.25, 0.5, 0.75]) if every.size else np.zeros(0))
        own = np.searchsorted(edges[-1], every)
        for quarter, parts in enumerate(by_quarter):
            parts.append(every[own == quarter])
    return edges, [np.concatenate(parts) for parts in by_quarter]


def quarters(labels: np.ndarray, edges: Sequence[np.ndarray]) -> np.ndarray:
    """Return the quarter of each pixel's object.

    Args:
        labels: uint8 N x H x W.
        edges: The areas between the quarters of each class, as from ``quarter_edges``.

    Returns:
        uint8 N x H x W, 0 (smallest) to 3; 255 for pixels without a class.
    """
    sizes = np.full(labels.shape, IGNORE_INDEX, np.uint8)
    for size, label in zip(sizes, labels, strict=True):
        which, areas = objects(label, len(edges))
        for index, (edge, of_class) in enumerate(zip(edges, areas, strict=True)):
            mask = label == index
            size[mask] = np.searchsorted(edge, of_class).astype(np.uint8)[which[mask]]
    return sizes


def count(mask: np.ndarray, labels: np.ndarray, sizes: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the pixels of a mask by image, class and quarter.

    Args:
        mask: bool N x H x W.
        labels: uint8 N x H x W; 255 is ignored.
        sizes: The quarter of each pixel, as from ``quarters``.
        num_classes: The number K of classes.

    Returns:
        float64 N x (K * 4), quarters of a class side by side.
    """
    bins = num_classes * len(QUARTERS)
    counted = mask & (labels != IGNORE_INDEX)
    image = np.broadcast_to(np.arange(len(labels))[:, None, None], labels.shape)[counted]
    place = labels[counted].astype(np.int64) * len(QUARTERS) + sizes[counted]
    counts = np.bincount(image * bins + place, minlength=len(labels) * bins)
    return counts.reshape(len(labels), bins).astype(np.float64)


def recall(right: np.ndarray, every: np.ndarray) -> np.ndarray:
    """Return the recall of each quarter, mean over the classes with objects of the quarter.

    Args:
        right: The right pixels, ... x (K * 4), as from ``count``.
        every: All labelled pixels, ... x (K * 4).

    Returns:
        ... x 4 in percent; NaN for a quarter without pixels.
    """
    shape = (*every.shape[:-1], -1, len(QUARTERS))
    right, every = right.reshape(shape), every.reshape(shape)
    there = every > 0
    shares = np.where(there, right / np.maximum(every, 1), 0)
    classes = there.sum(-2)
    return np.where(classes > 0, 100 * shares.sum(-2) / np.maximum(classes, 1), np.nan)
