"""Breakdown by object size: recall per quarter of object areas, from stored predictions."""

from collections.abc import Collection, Iterator, Sequence
from functools import partial

import numpy as np

from segtransfer.breakdowns.groups import AttackedGroup, cells_with_clean
from segtransfer.breakdowns.object_quarters import QUARTERS, count, quarter_edges, quarters, recall
from segtransfer.breakdowns.parts import MeasuredParts, PartScores, part_tables
from segtransfer.breakdowns.predictions import Counter, count_predictions, lost
from segtransfer.breakdowns.tables import Breakdown
from segtransfer.experiment.task import MatrixIndex
from segtransfer.results import Results
from segtransfer.results.reader import ExperimentReader
from segtransfer.statistics import Resampled

QUARTER_NOTE = (
    "An object is a 4-connected component of a class in the labels. Quarters are by area among the "
    "objects of the same class. Recall is the share of right pixels, mean over classes."
)


def by_size(results: Results, groups: Sequence[AttackedGroup]) -> Breakdown:
    """Return the recall of each quarter of object sizes, clean and under each attack.

    Args:
        results: The results.
        groups: The attacks and pair groups.

    Raises:
        InputError: If a shard or a prediction is missing or damaged.
    """
    parts, areas = _size_parts(results, cells_with_clean(groups))
    tables, notes = part_tables(Resampled(results), parts, groups)
    medians = ", ".join(
        f"{name} {np.median(found):.0f}"
        for name, found in zip(QUARTERS, areas, strict=True)
        if found.size
    )
    return Breakdown(
        "size", "recall", tables, (QUARTER_NOTE, f"Median areas in pixels: {medians}.", *notes)
    )


class Recalls(PartScores):
    """The recall by quarter of every cell on every resample; each stored cell is read once.

    Attributes:
        areas: The areas of all objects in pixels, an array per quarter.
    """

    def __init__(self, sample: Resampled) -> None:
        """Read the labels, then all evaluations, of the sample's experiment.

        Args:
            sample: The resampled results.

        Raises:
            InputError: If a shard or a prediction is missing or damaged.
        """
        parts, self.areas = _size_parts(sample.results, sample.results.counts.keys())
        super().__init__(sample, parts)


def _size_parts(
    results: Results, wanted: Collection[MatrixIndex]
) -> tuple[MeasuredParts, list[np.ndarray]]:
    """Return the quarters as parts of the images, and the areas of their objects in pixels."""
    classes = len(results.classes)
    edges, areas = quarter_edges(_labels(results.reader()), classes)
    every, right = count_predictions(results, wanted, partial(_counter, edges))
    by_quarter = every.reshape(len(every), classes, len(QUARTERS))
    return MeasuredParts(
        names=QUARTERS,
        labelled=by_quarter.sum(1, dtype=np.int64),
        counts=lambda cell: np.concatenate([right[cell], every], axis=-1),
        measure=lambda sums: recall(*np.split(sums, 2, axis=-1)),
    ), areas


def _counter(edges: Sequence[np.ndarray], labels: np.ndarray) -> Counter:
    """Return the counter of a shard's pixels by class and quarter."""
    sizes = quarters(labels, edges)
    return lambda mask: count(mask, labels, sizes, len(edges))


def _labels(reader: ExperimentReader) -> Iterator[np.ndarray]:
    """Yield the labels of each image, uint8 H x W.

    Raises:
        InputError: If a shard is missing.
    """
    for _, shard in reader.shards():
        if shard is None:
            raise lost(reader)
        yield from shard.labels
