"""The results of an experiment as sums over images, from one pass over its shards."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from segtransfer.experiment.task import Cell
from segtransfer.results import MatrixIndex, Results
from segtransfer.results.reader import ExperimentReader, ScoredShard


@dataclass(frozen=True)
class Sum:
    """A matrix cell's confusions K x K, its fooled and right pixels, its images and shards."""

    confusions: np.ndarray
    fooled: np.ndarray | None
    images: int
    shards: int


class Sums:
    """Running sums of evaluations, one confusion matrix per matrix cell."""

    def __init__(self) -> None:
        self._sums: dict[MatrixIndex, Sum] = {}

    def add(self, scored: ScoredShard) -> None:
        """Add the images of one evaluation to their matrix cell."""
        index, confusions = _index(scored.cell), scored.evaluation.confusions
        fooled = None if scored.fooled is None else scored.fooled.sum(0)
        new = Sum(confusions.sum(0), fooled, len(confusions), 1)
        old = self._sums.get(index)
        self._sums[index] = new if old is None else _added(old, new)

    def images(self, index: MatrixIndex) -> int:
        """Return the number of scored images of a matrix cell."""
        return self._sums[index].images if index in self._sums else 0

    def results(self, reader: ExperimentReader) -> Results:
        """Return the results with the sum of each matrix cell in place of its images.

        Matrix cells with a missing shard are left out, as in ``results_of``.
        """
        shards = Counter(_index(cell) for cells in reader.cells.values() for cell in cells)
        whole = {index: s for index, s in self._sums.items() if s.shards == shards[index]}
        return replace(
            reader.experiment,
            image_ids=tuple(reader.sequences),
            sequences=tuple(reader.sequences.values()),
            confusions={index: s.confusions[None] for index, s in whole.items()},
            fooled={index: s.fooled[None] for index, s in whole.items() if s.fooled is not None},
            missing=frozenset(reader.missing),
        )


def _added(a: Sum, b: Sum) -> Sum:
    fooled = None
    if a.fooled is not None and b.fooled is not None:
        fooled = a.fooled + b.fooled
    confusions = a.confusions + b.confusions
    return Sum(confusions, fooled, a.images + b.images, a.shards + b.shards)


def _index(cell: Cell) -> MatrixIndex:
    return cell.attack, cell.source, cell.target
