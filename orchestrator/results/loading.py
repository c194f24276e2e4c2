"""Assembly of results from a store: pixel counts of every image, joined per matrix cell."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from segtransfer.errors import InputError
from segtransfer.experiment.manifest import Manifest
from segtransfer.experiment.manifest_reading import read_manifest
from segtransfer.experiment.task import MatrixIndex
from segtransfer.results.lookup import described
from segtransfer.results.reader import ExperimentReader
from segtransfer.results.results import Results
from segtransfer.store import Store
from segtransfer.tasks import metrics


def load_results(store: Store, identity: str) -> Results:
    """Return the results of an experiment in a store.

    Args:
        store: The store.
        identity: The experiment's whole identity; prefixes and names are not resolved.

    Returns:
        The results. Cells with a missing or damaged part are left out.

    Raises:
        InputError: If the store holds no such experiment, or the experiment is damaged or written
            by another version.
    """
    experiments = described(store)
    if identity not in experiments:
        raise InputError(
            f"Store {store.location} holds no experiment {identity}; give the store's folder or "
            "URL, or run the experiment."
        )
    return results_of(store, identity, experiments[identity])


def results_of(store: Store, identity: str, content: Mapping[str, Any]) -> Results:
    """Return the results of an experiment that the store describes.

    Args:
        store: The store that holds the evaluations.
        identity: The experiment's identity.
        content: The manifest as the store holds it.

    Returns:
        The results. Cells with a missing or damaged part are left out.

    Raises:
        InputError: If another version of segtransfer wrote the manifest, or the manifest is
            damaged.
    """
    return assemble(store, identity, read_manifest(content, identity, store.location))


def assemble(store: Store, identity: str, manifest: Manifest) -> Results:
    """Read the results of an experiment shard by shard.

    Args:
        store: The store that holds the evaluations.
        identity: The experiment's identity.
        manifest: The experiment's manifest.

    Returns:
        The results. A cell is left out if one of its shards is missing or damaged; the keys of
        missing tasks are in ``missing``. Fooled pixels of a cell are left out if clean predictions
        are missing.
    """
    reader = ExperimentReader(store, identity, manifest)
    counts: dict[MatrixIndex, list[np.ndarray]] = defaultdict(list)
    fooled: dict[MatrixIndex, list[np.ndarray]] = defaultdict(list)
    lacking: set[MatrixIndex] = set()
    for shard_id, shard in reader.shards():
        if shard is None:  # its images are unknown, so none of its cells is complete
            reader.missing |= {cell.key for cell in reader.cells[shard_id]}
            lacking |= {cell.index for cell in reader.cells[shard_id]}
            continue
        unread = {cell.index for cell in reader.cells[shard_id]}
        for scored in reader.scored(shard_id, shard):
            index = scored.cell.index
            unread.remove(index)
            counts[index].append(metrics.class_counts(scored.evaluation.confusions))
            if scored.fooled is not None:
                fooled[index].append(scored.fooled.astype(np.int32))
        lacking |= unread
    whole = {index: parts for index, parts in counts.items() if index not in lacking}
    return results_read(
        reader,
        counts={index: np.concatenate(parts) for index, parts in whole.items()},
        fooled={
            index: np.concatenate(fooled[index])
            for index, parts in whole.items()
            if len(fooled[index]) == len(parts)
        },
    )


def results_read(
    reader: ExperimentReader,
    counts: Mapping[MatrixIndex, np.ndarray],
    fooled: Mapping[MatrixIndex, np.ndarray],
) -> Results:
    """Return results made of counts and of the findings of a reader that has read all shards.

    Args:
        reader: The reader; every shard was read.
        counts: ``Results.counts``. A caller that needs sums only may pass attacks summed over
            images, with N = 1.
        fooled: ``Results.fooled``, with the same N.

    Returns:
        The results, without failures.
    """
    images = reader.images
    return Results(
        identity=reader.identity,
        store=reader.store,
        manifest=reader.manifest,
        image_ids=tuple(image.image_id for image in images),
        sequences=tuple(image.sequence for image in images),
        counts=counts,
        fooled=fooled,
        missing=frozenset(reader.missing),
        pixels=() if reader.missing_shards else tuple(image.pixels for image in images),
        random_targets=frozenset(reader.random_targets),
        spans=reader.spans,
    )
