"""Breakdown by region: pixels near a label boundary against interior, from stored predictions."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from segtransfer.breakdowns.groups import AttackedGroup, cells_with_clean
from segtransfer.breakdowns.parts import MeasuredParts, part_tables
from segtransfer.breakdowns.predictions import Counter, count_predictions
from segtransfer.breakdowns.tables import Breakdown
from segtransfer.results import Results
from segtransfer.statistics import Resampled
from segtransfer.tasks.labels import IGNORE_INDEX

BOUNDARY_WIDTH = 3  # pixels on each side of a boundary, at the label's own grid; ours
REGIONS = ("boundary", "interior")
REGION_NOTE = (
    f"Boundary: labelled pixels at most {BOUNDARY_WIDTH} pixels (a number of ours, between pixel "
    "centres, at the label's own grid) from a pixel of another class. An unlabelled pixel makes no "
    "boundary."
)


def by_boundary(results: Results, groups: Sequence[AttackedGroup]) -> Breakdown:
    """Return the pixel accuracy near label boundaries and in the interior.

    Args:
        results: The results.
        groups: The attacks and pair groups.

    Raises:
        InputError: If a shard or a prediction is missing or damaged.
    """
    every, right = count_predictions(results, cells_with_clean(groups), _counter)
    parts = MeasuredParts(
        names=REGIONS,
        labelled=every.astype(np.int64),
        counts=lambda cell: np.concatenate([right[cell], every], axis=-1),
        measure=_accuracy,
    )
    tables, notes = part_tables(Resampled(results), parts, groups)
    return Breakdown("boundary", "pixel accuracy", tables, (REGION_NOTE, *notes))


def near_boundary(label: np.ndarray) -> np.ndarray:
    """Return the labelled pixels within ``BOUNDARY_WIDTH`` of a pixel of another class.

    Args:
        label: uint8 H x W; 255 is ignored.

    Returns:
        bool H x W, False for ignored pixels. Distances are Euclidean, between pixel centres.
    """
    y, x = np.ogrid[-BOUNDARY_WIDTH : BOUNDARY_WIDTH + 1, -BOUNDARY_WIDTH : BOUNDARY_WIDTH + 1]
    disc = y**2 + x**2 <= BOUNDARY_WIDTH**2
    labelled = label != IGNORE_INDEX
    # Ignored pixels are 0 for the maximum and 255 for the minimum, so neither differs by them.
    largest = ndimage.maximum_filter(np.where(labelled, label, 0), footprint=disc, mode="nearest")
    smallest = ndimage.minimum_filter(label, footprint=disc, mode="nearest")
    return labelled & ((smallest < label) | (largest > label))


def _counter(labels: np.ndarray) -> Counter:
    """Return the counter of a shard's pixels by region."""
    near = np.stack([near_boundary(label) for label in labels])
    interior = (labels != IGNORE_INDEX) & ~near
    return lambda mask: np.stack([(mask & part).sum((1, 2)) for part in (near, interior)], axis=-1)


def _accuracy(sums: np.ndarray) -> np.ndarray:
    right, every = np.split(sums, 2, axis=-1)
    return np.where(every > 0, 100 * right / np.maximum(every, 1), np.nan)
