"""Per-image counts of a matrix cell, small enough for ten thousand resamples."""

import numpy as np

from segtransfer.results import MatrixIndex, Results
from segtransfer.tasks import metrics


def tallies(results: Results, cell: MatrixIndex) -> np.ndarray:
    """Return the counts of every image of a matrix cell.

    Args:
        results: The results, with N images and K classes.
        cell: Attack, source (None without a model) and target.

    Returns:
        float64 N x (3K + 2): per class the right, labelled and predicted pixels, then the fooled
        pixels and the pixels right on the clean image, NaN without clean predictions. Sums are
        exact below 2^53.

    Raises:
        KeyError: If the cell has no result.
    """
    fooled = results.fooled.get(cell)
    parts = [*np.moveaxis(results.counts[cell], 1, 0)]
    parts.append(np.full((len(parts[0]), 2), np.nan) if fooled is None else fooled)
    return np.concatenate(parts, axis=-1).astype(np.float64)


def score(counts: np.ndarray, metric: str) -> np.ndarray:
    """Return a metric in percent from counts.

    Args:
        counts: ... x (3K + 2), as from ``tallies``, or sums of such counts.
        metric: A metric of ``Results.matrix`` other than ``drop`` and ``ratio``.

    Returns:
        float64 of shape ..., in percent; NaN without counted pixels.

    Raises:
        InputError: If the metric is unknown or no function of these counts.
    """
    if metric == "fooling":
        return metrics.fooling_of(counts[..., -2], counts[..., -1])
    right, labelled, predicted = np.split(counts[..., :-2], 3, axis=-1)
    return np.asarray(metrics.of_margins(metric)(right, labelled, predicted))
