"""The results of an experiment as sums over images, from a single pass over its shards.

Clean cells keep the counts of each image, because the margin of a published mIoU needs them.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from segtransfer.experiment.task import CLEAN, MatrixIndex
from segtransfer.results import Results, results_read
from segtransfer.results.reader import ExperimentReader, ScoredShard
from segtransfer.tasks import metrics


@dataclass(frozen=True)
class Sum:
    """The counts of a matrix cell.

    Attributes:
        counts: N x 3 x K: right, labelled and predicted pixels per class. N is the number of
            images for a clean cell, and 1 for any other cell, summed over images.
        fooled: The number of fooled pixels, and of pixels that are right on the clean images. None
            without clean predictions.
        images: The number of scored images.
        shards: The number of scored shards.
    """

    counts: np.ndarray
    fooled: np.ndarray | None
    images: int
    shards: int


class Sums:
    """Running sums of evaluations, per matrix cell."""

    def __init__(self) -> None:
        self._sums: dict[MatrixIndex, Sum] = {}

    def add(self, scored: ScoredShard) -> None:
        """Add the images of an evaluation to their matrix cell."""
        index = scored.cell.index
        counts = metrics.class_counts(scored.evaluation.confusions)
        fooled = None if scored.fooled is None else scored.fooled.sum(0)
        clean = scored.cell.attack == CLEAN
        new = Sum(counts if clean else counts.sum(0)[None], fooled, len(counts), 1)
        old = self._sums.get(index)
        self._sums[index] = new if old is None else _added(old, new, clean)

    def images(self, index: MatrixIndex) -> int:
        """Return the number of scored images of a matrix cell, 0 for an unknown cell."""
        return self._sums[index].images if index in self._sums else 0

    def results(self, reader: ExperimentReader) -> Results:
        """Return the results with the sum of each matrix cell in place of its images.

        Args:
            reader: The reader of the experiment, after all shards were read.

        Returns:
            The results. Matrix cells with a missing shard are left out, as in ``results_of``.
        """
        shards = Counter(cell.index for cells in reader.cells.values() for cell in cells)
        whole = {index: s for index, s in self._sums.items() if s.shards == shards[index]}
        return results_read(
            reader,
            counts={index: s.counts for index, s in whole.items()},
            fooled={index: s.fooled[None] for index, s in whole.items() if s.fooled is not None},
        )


def _added(a: Sum, b: Sum, clean: bool) -> Sum:
    fooled = None
    if a.fooled is not None and b.fooled is not None:
        fooled = a.fooled + b.fooled
    counts = np.concatenate([a.counts, b.counts]) if clean else a.counts + b.counts
    return Sum(counts, fooled, a.images + b.images, a.shards + b.shards)
