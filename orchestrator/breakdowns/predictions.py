"""Counts of right pixels by part of each image, from stored predictions, shard by shard."""

from collections import defaultdict
from collections.abc import Callable, Collection

import numpy as np

from segtransfer.errors import InputError
from segtransfer.experiment.task import MatrixIndex
from segtransfer.results import Results
from segtransfer.results.reader import ExperimentReader

# Counts the pixels of a mask, bool N x H x W, by image and part: N x B.
Counter = Callable[[np.ndarray], np.ndarray]


def count_predictions(
    results: Results, wanted: Collection[MatrixIndex], counter_of: Callable[[np.ndarray], Counter]
) -> tuple[np.ndarray, dict[MatrixIndex, np.ndarray]]:
    """Count the pixels of the labels and the right pixels of stored predictions.

    A single shard is in memory; the counts of all images are kept.

    Args:
        results: The results.
        wanted: The matrix cells to read.
        counter_of: Returns the counter of a shard from its labels, uint8 N x H x W.

    Returns:
        All counted pixels, int32 N x B; and the right pixels of each cell, int32 N x B.

    Raises:
        InputError: If a shard or a prediction is missing or damaged.
    """
    reader = results.reader(lambda cell: cell.index in wanted)
    every: list[np.ndarray] = []
    right: dict[MatrixIndex, list[np.ndarray]] = defaultdict(list)
    for shard_id, shard in reader.shards():
        if shard is None:
            raise lost(reader)
        counter = counter_of(shard.labels)
        every.append(counter(np.ones(shard.labels.shape, bool)).astype(np.int32))
        for scored in reader.scored(shard_id, shard, fooled=False):
            mask = scored.evaluation.predictions == shard.labels
            right[scored.cell.index].append(counter(mask).astype(np.int32))
    if reader.missing:
        raise lost(reader)
    return np.concatenate(every), {cell: np.concatenate(parts) for cell, parts in right.items()}


def lost(reader: ExperimentReader) -> InputError:
    """Return the error about images, labels or predictions that a reader did not find."""
    shards, predictions = len(reader.missing_shards), len(reader.missing)
    lacking = f"{shards} shards of images and labels" if shards else f"{predictions} predictions"
    return InputError(
        f"{reader.manifest.settings.name} in store {reader.store.location} lacks {lacking}, which "
        "are missing or damaged; run its experiment or study again."
    )
