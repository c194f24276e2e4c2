"""One experiment of a store, read a shard at a time; missing results are noted on the way."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from segtransfer.experiment.manifest import Manifest
from segtransfer.experiment.task import CLEAN, Cell
from segtransfer.results.checked import (
    attack_fits,
    attack_images,
    attack_report,
    label_counts,
    scores,
)
from segtransfer.store import CommitRow, Evaluation, Store
from segtransfer.tasks import metrics
from segtransfer.tasks.data.shards import Shard

Statistics = Mapping[str, list[float]]  # of the perturbation, a value per image


@dataclass(frozen=True)
class ScoredShard:
    """The evaluation of a shard's clean images or AEs on a target.

    Attributes:
        cell: The attack, source, target and shard.
        evaluation: The confusion matrices and predictions of the N images.
        fooled: int64 N x 2, the pixels that the attack turned wrong and the pixels that are right
            on the clean image; None if the shard or its clean predictions are missing.
    """

    cell: Cell
    evaluation: Evaluation
    fooled: np.ndarray | None


@dataclass(frozen=True)
class AttackedShard:
    """The AEs uint8 N x 3 x H x W of a shard, made by an attack's variant on a source."""

    attack: str
    source: str | None
    image_ids: tuple[str, ...]
    images: np.ndarray
    perturbation: Statistics


class ExperimentReader:
    """A reader of an experiment, shard by shard; missing results are noted and left out.

    No more than the images, the AEs and the clean predictions of one shard are in memory.
    """

    def __init__(
        self,
        store: Store,
        identity: str,
        manifest: Manifest,
        advance: Callable[[int, int], None] = lambda done, shards: None,
    ) -> None:
        """Prepare to read an experiment; nothing is read yet.

        Args:
            store: The store that holds the results.
            identity: The experiment's identity.
            manifest: The experiment's manifest.
            advance: Called with the number of shards read and the number of all shards.
        """
        self.store, self.identity, self.manifest = store, identity, manifest
        self.missing: set[str] = set()  # keys of tasks whose results are missing or damaged
        self.missing_shards: set[str] = set()  # shards whose clean images are missing or damaged
        self.sequences: dict[str, str] = {}  # by image id, of the shards read so far
        self._advance = advance
        self._variants = {variant.name: variant for variant in manifest.variants}
        self._rows: dict[str, CommitRow | None] = {}  # of attacks, without reports
        self.cells: dict[str, list[Cell]] = defaultdict(list)  # by shard, clean images first
        for cell in sorted(manifest.cells, key=lambda cell: cell.attack != CLEAN):
            self.cells[cell.shard_id].append(cell)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return a sentence per kind of missing result: evaluations and attacks, and shards."""
        cells = self.manifest.cells
        keys = {key for cell in cells for key in (cell.key, cell.attack_key) if key}
        shards = "shards of clean images and labels"
        counts = [
            (len(self.missing), len(keys), "results"),
            (len(self.missing_shards), len(self.manifest.shards), shards),
        ]
        return tuple(
            f"PARTIAL: {lacking} of {count} {noun} are missing or damaged and were left out; run "
            "the experiment again and export it anew"
            for lacking, count, noun in counts
            if lacking
        )

    def shards(self) -> Iterator[tuple[str, Shard | None]]:
        """Yield every shard's id and content, None for a missing or damaged shard."""
        shard_ids = self.manifest.shards
        for number, shard_id in enumerate(shard_ids):
            self._advance(number, len(shard_ids))
            shard = self.store.shard(shard_id)
            if shard is None:
                self.missing_shards.add(shard_id)
            else:
                self.sequences |= zip(shard.image_ids, shard.sequences, strict=True)
            yield shard_id, shard
        self._advance(len(shard_ids), len(shard_ids))

    def scored(self, shard_id: str, shard: Shard | None) -> Iterator[ScoredShard]:
        """Yield the evaluations of a shard, clean images first."""
        clean: dict[str, np.ndarray] = {}  # predictions by target
        labelled = None if shard is None else label_counts(shard)
        for cell in self.cells[shard_id]:
            evaluation = self._scores(cell, shard, labelled)
            if evaluation is None:
                self.missing.add(cell.key)
                continue
            if cell.attack == CLEAN:
                clean[cell.target] = evaluation.predictions
            fooled = None
            if shard is not None and cell.target in clean:
                fooled = metrics.fooled(evaluation.predictions, clean[cell.target], shard.labels)
            yield ScoredShard(cell, evaluation, fooled)

    def perturbation(self, cell: Cell) -> Statistics | None:
        """Return statistics of the AEs that a cell scores; None for clean images, or if missing."""
        if cell.attack_key is None:
            return None
        variant = self._variants[cell.attack]
        report = attack_report(self.store, cell.attack_key, self._made(cell.attack))
        if report is None:
            self.missing.add(cell.attack_key)
            return None
        return report["perturbation"][variant.made]

    def adversarial(self, shard_id: str) -> Iterator[AttackedShard]:
        """Yield the AEs of a shard per attack's variant and source."""
        key, stored = None, None
        seen: set[tuple[str, str | None]] = set()
        for cell in self.cells[shard_id]:
            origin = cell.attack, cell.source
            if cell.attack_key is None or origin in seen:
                continue
            seen.add(origin)
            if cell.attack_key != key:
                key = cell.attack_key
                stored = attack_images(self.store, key, self._made(cell.attack))
                if stored is None:
                    self.missing.add(key)
            if stored is not None:
                ids, images, perturbations = stored
                index = self._variants[cell.attack].made
                yield AttackedShard(*origin, ids, images[index], perturbations[index])

    def _made(self, variant: str) -> int:
        """Return the number of variants of the attack that made a variant."""
        attack = self._variants[variant].attack
        return 1 + max(other.made for other in self.manifest.variants if other.attack == attack)

    def _scores(
        self, cell: Cell, shard: Shard | None, labelled: np.ndarray | None
    ) -> Evaluation | None:
        """Return the scores of a cell, of the AEs that the manifest says."""
        key = cell.attack_key
        if key is not None and key not in self._rows:
            row = self.store.row(key)
            self._rows[key] = None if row is None else replace(row, report={})
        if key is not None and not attack_fits(self._rows[key], cell, self.manifest):
            return None
        return scores(self.store, cell, shard, labelled, self.manifest)
