"""Results from the store: per-image confusion matrices, assembled per matrix cell."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from segtransfer.errors import InputError
from segtransfer.experiment.task import CLEAN, Cell
from segtransfer.results.checked import attack_fits, scores
from segtransfer.results.manifest_check import check_manifest
from segtransfer.results.results import MatrixIndex, Results
from segtransfer.results.warnings import is_random
from segtransfer.store import CommitRow, Evaluation, Store
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
        InputError: If another version of segtransfer wrote the content, or the content is damaged.
    """
    check_manifest(content, identity, store.location)
    shards = {shard_id: store.shard(shard_id) for shard_id in content["shards"]}
    assembly = _Assembly(store, shards, content)
    evaluations: dict[MatrixIndex, list[Cell]] = defaultdict(list)
    for cell in (Cell(*row) for row in content["cells"]):
        evaluations[cell.attack, cell.source, cell.target].append(cell)
    place = {shard_id: number for number, shard_id in enumerate(content["shards"])}
    # The images are in the order of the shards, and clean predictions are needed first.
    for index, cells in sorted(evaluations.items(), key=lambda item: item[0][0] != CLEAN):
        assembly.add(index, sorted(cells, key=lambda cell: place[cell.shard_id]))
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
        pixels=tuple(shard.labels[0].size for shard in stored for _ in shard.image_ids),
        random_targets=frozenset(assembly.random_targets),
    )


@dataclass
class _Assembly:
    """Matrix cells put together from the evaluations of single shards, clean cells first."""

    store: Store
    shards: Mapping[str, Shard | None]
    content: Mapping[str, Any]
    missing: set[str] = field(default_factory=set)
    confusions: dict[MatrixIndex, np.ndarray] = field(default_factory=dict)
    fooled: dict[MatrixIndex, np.ndarray] = field(default_factory=dict)
    random_targets: set[str] = field(default_factory=set)
    # Clean predictions uint8 N x H x W, by target and shard.
    _predictions: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    _attacks: dict[str, CommitRow | None] = field(default_factory=dict)  # rows without reports

    def add(self, index: MatrixIndex, cells: Sequence[Cell]) -> None:
        """Read the evaluations of a matrix cell, one per shard; note the missing keys."""
        attack, _, target = index
        read = [(cell.shard_id, cell.key, self._scores(cell)) for cell in cells]
        self.missing |= {key for _, key, evaluation in read if evaluation is None}
        complete = [(s, e) for s, _, e in read if e is not None]
        if any(is_random(evaluation.report) for _, evaluation in complete):
            self.random_targets.add(target)
        if len(complete) < len(read):
            return
        self.confusions[index] = np.concatenate([e.confusions for _, e in complete])
        if attack == CLEAN:
            self._predictions |= {(target, s): e.predictions for s, e in complete}
        counts = [
            _fooled(e.predictions, self._predictions.get((target, s)), self.shards[s])
            for s, e in complete
        ]
        known = [count for count in counts if count is not None]
        if len(known) == len(counts):
            self.fooled[index] = np.concatenate(known)

    def _scores(self, cell: Cell) -> Evaluation | None:
        """Return the scores of a shard, or None without the shard: its images are not known."""
        shard = self.shards[cell.shard_id]
        if shard is None or not self._fits(cell):
            return None
        return scores(self.store, cell, shard, self.content)

    def _fits(self, cell: Cell) -> bool:
        """Return whether the attack of a cell is the attack that the manifest says."""
        key = cell.attack_key
        if key is not None and key not in self._attacks:
            row = self.store.row(key)
            self._attacks[key] = None if row is None else replace(row, report={})
        return key is None or attack_fits(self._attacks[key], cell, self.content)


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
