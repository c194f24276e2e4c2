"""Breakdown by image: images whose drop in pixel accuracy is far from the median."""

from collections.abc import Sequence

import numpy as np

from segtransfer.breakdowns.groups import AttackedGroup
from segtransfer.breakdowns.tables import Breakdown, PartRow, PartTable
from segtransfer.experiment.task import CLEAN, MatrixIndex
from segtransfer.results import Results
from segtransfer.statistics import Interval

OUTLIERS = 5  # images listed above the median, and below
MAD_TO_DEVIATION = 1.4826  # the standard deviation over the MAD, of a normal distribution
IMAGE_NOTE = (
    f"At most {OUTLIERS} images above and {OUTLIERS} below the median drop, farthest first. Robust "
    f"z: the drop minus the median, over {MAD_TO_DEVIATION} times the median absolute deviation "
    "(MAD)."
)


def by_image(results: Results, groups: Sequence[AttackedGroup]) -> Breakdown:
    """Return the images whose drop in pixel accuracy differs most from the median.

    Args:
        results: The results.
        groups: The attacks and pair groups.
    """
    tables, notes = [], [IMAGE_NOTE]
    for group in groups:
        table = _outliers(results, group)
        if table.rows:
            tables.append(table)
        else:
            notes.append(
                f"{group.attack} on {group.words} has no outlier: more than half of the images "
                "have the same drop, so the MAD is 0."
            )
    labelled = _pixels(results, groups[0].cells[0])[1]
    if unlabelled := int((labelled == 0).sum()):
        notes.append(f"{unlabelled} images without labelled pixels are left out.")
    return Breakdown("image", "pixel accuracy", tuple(tables), tuple(notes))


def robust_z(values: np.ndarray) -> np.ndarray:
    """Return the robust z-score of each value: its distance to the median in units of the MAD.

    Source: Iglewicz and Hoaglin, "How to detect and handle outliers", 1993.

    Args:
        values: float64 N.

    Returns:
        float64 N; 0 for all values if the median absolute deviation is 0.
    """
    distance = values - np.median(values)
    spread = MAD_TO_DEVIATION * np.median(np.abs(distance))
    return np.zeros_like(values) if spread == 0 else distance / spread


def _outliers(results: Results, group: AttackedGroup) -> PartTable:
    """Return the images above and below the median drop; no rows if there are none."""
    labelled = _pixels(results, group.cells[0])[1]
    shown = np.flatnonzero(labelled)
    attacked = np.mean([_accuracy(results, cell)[shown] for cell in group.cells], axis=0)
    clean = np.mean(
        [_accuracy(results, (CLEAN, None, cell[2]))[shown] for cell in group.cells], axis=0
    )
    # Rounded far below a pixel's share, so that equal drops are equal in every order of sums.
    drop = np.round(clean - attacked, 9)
    z = robust_z(drop) if len(shown) else drop
    order = np.argsort(-z, kind="stable")
    chosen = [
        *[i for i in order if z[i] > 0][:OUTLIERS],
        *[i for i in order[::-1] if z[i] < 0][:OUTLIERS],
    ]
    rows = tuple(
        PartRow(
            part=results.image_ids[shown[i]],
            pixels=int(labelled[shown[i]]),
            images=1,
            clean=_alone(clean[i]),
            attacked=_alone(attacked[i]),
            drop=_alone(drop[i]),
            z=float(z[i]),
        )
        for i in chosen
    )
    about = ""
    if rows:
        median = np.median(drop)
        mad = np.median(np.abs(drop - median))
        about = f"Median drop {median:.1f}, MAD {mad:.1f} points, of {len(shown)} images."
    return PartTable(group.attack, group.group, group.words, len(group.cells), rows, about)


def _accuracy(results: Results, cell: MatrixIndex) -> np.ndarray:
    """Return the pixel accuracy of each image in percent; NaN without labelled pixels."""
    right, labelled = _pixels(results, cell)
    return np.where(labelled > 0, 100 * right / np.maximum(labelled, 1), np.nan)


def _pixels(results: Results, cell: MatrixIndex) -> tuple[np.ndarray, np.ndarray]:
    """Return the right and the labelled pixels of each image, int64 N each."""
    counts = results.counts[cell].sum(-1, dtype=np.int64)
    return counts[:, 0], counts[:, 1]


def _alone(value: float) -> Interval:
    """Return the value of a single image, which has no interval."""
    return Interval(float(value), np.nan, np.nan, np.nan)
