"""Per-image counts of a cell, small enough to be resampled ten thousand times."""

from collections.abc import Callable

import numpy as np

from segtransfer.results import MatrixIndex, Results
from segtransfer.tasks import metrics


def tallies(results: Results, cell: MatrixIndex) -> np.ndarray:
    """Counts of every image, float64 N x (3K + 2): per class right, labelled and predicted pixels,
    then those fooled and those right on the clean image (NaN where clean predictions are missing).
    Their sums are exact below 2^53.

    Raises KeyError where the cell is missing.
    """
    fooled = results.fooled.get(cell)
    parts = [*metrics.margins(results.confusions[cell])]
    parts.append(np.full((len(parts[0]), 2), np.nan) if fooled is None else fooled)
    return np.concatenate(parts, axis=-1).astype(np.float64)


def score(counts: np.ndarray, metric: str) -> np.ndarray:
    """A metric of ``Results.matrix``, but those derived, in percent from counts ... x (3K + 2)."""
    if metric == "fooling":
        return 100 * counts[..., -2] / np.maximum(counts[..., -1], 1)
    right, labelled, predicted = np.split(counts[..., :-2], 3, axis=-1)
    return np.asarray(OF_MARGINS[metric](right, labelled, predicted))


Margins = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
OF_MARGINS: dict[str, Margins] = {
    "miou": metrics.miou_of,
    "aacc": metrics.accuracy_of,
    "macc": metrics.class_accuracy_of,
    "wrong": lambda *margins: 100 - metrics.accuracy_of(*margins),
}
