"""Breakdown by class: IoU per class, or accuracy of classifiers, from stored counts."""

from collections.abc import Sequence

import numpy as np

from segtransfer.breakdowns.groups import AttackedGroup
from segtransfer.breakdowns.parts import MeasuredParts, part_tables
from segtransfer.breakdowns.tables import Breakdown
from segtransfer.experiment.task import CLEAN, MatrixIndex
from segtransfer.results import Results
from segtransfer.statistics import Resampled
from segtransfer.tasks import metrics
from segtransfer.tasks.image_metrics import OF_IMAGES

CLASS_NOTE = "Classes in neither labels nor predictions are left out."


def by_class(results: Results, groups: Sequence[AttackedGroup]) -> Breakdown:
    """Return the IoU of each class, or a classifier's accuracy, clean and under each attack.

    Args:
        results: The results, with K classes.
        groups: The attacks and pair groups.
    """
    target, of_images = groups[0].cells[0][2], results.headline == OF_IMAGES
    labelled = results.counts[CLEAN, None, target][:, 1].astype(np.int64)
    parts = MeasuredParts(
        names=tuple(results.classes),
        labelled=labelled,
        counts=lambda cell: _counts(results, cell),
        measure=_accuracy if of_images else lambda sums: _iou(sums, labelled.sum(0)),
    )
    tables, notes = part_tables(Resampled(results), parts, groups)
    measure = "accuracy" if of_images else "IoU"
    return Breakdown("class", measure, tables, (CLASS_NOTE, *notes))


def _counts(results: Results, cell: MatrixIndex) -> np.ndarray:
    counts = results.counts[cell]
    return counts.reshape(len(counts), -1)


def _accuracy(sums: np.ndarray) -> np.ndarray:
    """Return the share of right images of each class in percent, ... x K; NaN without images."""
    right, labelled, _ = np.split(sums, 3, axis=-1)
    return 100 * right / np.where(labelled > 0, labelled, np.nan)


def _iou(sums: np.ndarray, every: np.ndarray) -> np.ndarray:
    """Return the IoU of each class in percent, ... x K.

    A resample without the labelled pixels of a class says nothing on this class: NaN.

    Args:
        sums: Right, labelled and predicted pixels of each class, ... x 3K.
        every: The labelled pixels of each class in all images, K.
    """
    right, labelled, predicted = np.split(sums, 3, axis=-1)
    iou = metrics.class_iou_of(right, labelled, predicted)
    return np.where((every > 0) & (labelled == 0), np.nan, iou)
