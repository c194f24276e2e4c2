"""Results from the store: per-image confusion matrices, assembled per matrix cell."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segtransfer.errors import InputError
from segtransfer.experiment.manifest import FORMAT
from segtransfer.experiment.task import CLEAN
from segtransfer.results.results import MatrixIndex, Results
from segtransfer.store import Store
from segtransfer.tasks import metrics
from segtransfer.tasks.data.base import sequence_of
from segtransfer.tasks.data.shards import Shard


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
    """Return the results of the experiment that ``content`` describes.

    Cells with a missing or damaged part are left out.

    Args:
        store: The store that holds the evaluations.
        identity: The experiment's identity.
        content: The experiment as the store describes it: spec, models, attacks, shards, cells.

    Raises:
        InputError: If another version of segtransfer wrote the content.
    """
    if content.get("format") != FORMAT:
        raise InputError(
            f"experiment {content.get('spec', {}).get('name', identity)} in {store.location} was "
            "written by another version of segtransfer; run it again, into this store or a new one"
        )
    shards = {shard_id: store.shard(shard_id) for shard_id in content["shards"]}
    assembly = _Assembly(store, shards)
    evaluations: dict[MatrixIndex, list[tuple[str, str]]] = defaultdict(list)
    for attack, source, target, shard_id, key, _ in content["cells"]:
        evaluations[attack, source, target].append((shard_id, key))
    for cell, keys in evaluations.items():
        assembly.add(cell, keys)
    stored = [shard for shard in shards.values() if shard is not None]
    images = tuple(i for shard in stored for i in shard.image_ids)
    return Results(
        identity=identity,
        store=store,
        content=content,
        image_ids=images,
        sequences=_sequences(content, images, stored),
        confusions=assembly.confusions,
        fooled=assembly.fooled,
        missing=frozenset(assembly.missing),
    )


@dataclass
class _Assembly:
    """Matrix cells put together from the evaluations of single shards, clean cells first."""

    store: Store
    shards: Mapping[str, Shard | None]
    missing: set[str] = field(default_factory=set)
    confusions: dict[MatrixIndex, np.ndarray] = field(default_factory=dict)
    fooled: dict[MatrixIndex, np.ndarray] = field(default_factory=dict)
    # Clean predictions uint8 N x H x W, by target and shard.
    _predictions: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    def add(self, cell: MatrixIndex, keys: Sequence[tuple[str, str]]) -> None:
        """Read the evaluations of a cell, given by shard and key; note the missing keys."""
        attack, _, target = cell
        read = [(shard_id, key, self.store.evaluation(key)) for shard_id, key in keys]
        self.missing |= {key for _, key, evaluation in read if evaluation is None}
        complete = [(s, e) for s, _, e in read if e is not None]
        if len(complete) < len(read):
            return
        self.confusions[cell] = np.concatenate([e.confusions for _, e in complete])
        if attack == CLEAN:
            self._predictions |= {(target, s): e.predictions for s, e in complete}
        counts = [
            _fooled(e.predictions, self._predictions.get((target, s)), self.shards[s])
            for s, e in complete
        ]
        known = [count for count in counts if count is not None]
        if len(known) == len(counts):
            self.fooled[cell] = np.concatenate(known)


def _sequences(
    content: Mapping[str, Any], images: Sequence[str], stored: Sequence[Shard]
) -> tuple[str, ...]:
    """Return the video of each image.

    The experiment's own pattern comes first, because an older experiment with the same shards may
    have stored them without sequences.
    """
    if pattern := content["spec"]["data"].get("sequence"):
        return tuple(sequence_of(image, pattern) for image in images)
    return tuple(sequence for shard in stored for sequence in shard.sequences)


def _fooled(
    adversarial: np.ndarray, clean: np.ndarray | None, shard: Shard | None
) -> np.ndarray | None:
    """Return the fooled and right pixels of a shard's images, int64 N x 2.

    None if the shard or its clean predictions are missing.
    """
    if clean is None or shard is None:
        return None
    return metrics.fooled(adversarial, clean, shard.labels)
