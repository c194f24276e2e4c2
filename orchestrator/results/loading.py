"""Results from the store: counts of every image, put together per matrix cell."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segtransfer.errors import InputError
from segtransfer.experiment.manifest import Manifest
from segtransfer.experiment.manifest_reading import read_manifest
from segtransfer.results.reader import ExperimentReader
from segtransfer.results.results import MatrixIndex, Results
from segtransfer.results.warnings import is_random
from segtransfer.store import Store
from segtransfer.tasks import metrics
from segtransfer.tasks.data.base import sequence_of


def load_results(store: Store, identity: str) -> Results:
    """Return the results of an experiment in a store.

    Args:
        store: The store.
        identity: The experiment's whole identity.

    Raises:
        InputError: If the store holds no such experiment, or another version wrote it.
    """
    experiments = store.experiments()
    if identity not in experiments:
        raise InputError(f"store {store.location} holds no experiment {identity}")
    return results_of(store, identity, experiments[identity])


def results_of(store: Store, identity: str, content: Mapping[str, Any]) -> Results:
    """Return the results of an experiment as the store describes it.

    Args:
        store: The store that holds the evaluations.
        identity: The experiment's identity.
        content: The manifest as the store holds it.

    Raises:
        InputError: If another version of segtransfer wrote the manifest, or it is damaged.
    """
    return assemble(store, identity, read_manifest(content, identity, store.location))


def assemble(store: Store, identity: str, manifest: Manifest) -> Results:
    """Return the results of an experiment, read shard by shard.

    Matrix cells with a missing or damaged part are left out.

    Args:
        store: The store that holds the evaluations.
        identity: The experiment's identity.
        manifest: The experiment's manifest.
    """
    reader = ExperimentReader(store, identity, manifest)
    counts: dict[MatrixIndex, list[np.ndarray]] = defaultdict(list)
    fooled: dict[MatrixIndex, list[np.ndarray]] = defaultdict(list)
    lacking: set[MatrixIndex] = set()
    random_targets: set[str] = set()
    images: list[tuple[str, str, int]] = []  # id, video, pixels
    for shard_id, shard in reader.shards():
        if shard is None:  # whose images are not known
            reader.missing |= {cell.key for cell in reader.cells[shard_id]}
            lacking |= {cell.index for cell in reader.cells[shard_id]}
            continue
        sizes = [label.size for label in shard.labels]
        images += zip(shard.image_ids, shard.sequences, sizes, strict=True)
        unread = {cell.index for cell in reader.cells[shard_id]}
        for scored in reader.scored(shard_id, shard):
            index = scored.cell.index
            unread.remove(index)
            counts[index].append(metrics.class_counts(scored.evaluation.confusions))
            if scored.fooled is not None:
                fooled[index].append(scored.fooled.astype(np.int32))
            if is_random(scored.evaluation.report):
                random_targets.add(scored.cell.target)
        lacking |= unread
    whole = {index: parts for index, parts in counts.items() if index not in lacking}
    return Results(
        identity=identity,
        store=store,
        manifest=manifest,
        image_ids=tuple(image_id for image_id, _, _ in images),
        sequences=_sequences(manifest, images),
        counts={index: np.concatenate(parts) for index, parts in whole.items()},
        fooled={
            index: np.concatenate(fooled[index])
            for index, parts in whole.items()
            if len(fooled[index]) == len(parts)
        },
        missing=frozenset(reader.missing),
        pixels=tuple(size for _, _, size in images),
        random_targets=frozenset(random_targets),
    )


def _sequences(manifest: Manifest, images: Sequence[tuple[str, str, int]]) -> tuple[str, ...]:
    """Return the video of each image.

    The experiment's own pattern comes first, because an older experiment with the same shards may
    have stored them without sequences.
    """
    if pattern := manifest.settings.data.sequence:
        return tuple(sequence_of(image_id, pattern) for image_id, _, _ in images)
    return tuple(sequence for _, sequence, _ in images)
