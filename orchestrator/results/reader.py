"""One experiment of a store, read a shard at a time; missing results are noted on the way."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segtransfer.errors import InputError
from segtransfer.experiment.manifest import FORMAT
from segtransfer.experiment.task import CLEAN, Cell
from segtransfer.results.results import Results
from segtransfer.store import Evaluation, Store, arrays
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
        perturbation: Statistics of the perturbations; None for clean images, or if missing.
    """

    cell: Cell
    evaluation: Evaluation
    fooled: np.ndarray | None
    perturbation: Statistics | None


@dataclass(frozen=True)
class AttackedShard:
    """The AEs uint8 N x 3 x H x W of a shard, made by an attack's variant on a source."""

    attack: str
    source: str | None
    image_ids: tuple[str, ...]
    images: np.ndarray
    perturbation: Statistics


class ExperimentReader:
    """A reader of an experiment, shard by shard; missing results are noted and left out."""

    def __init__(
        self,
        store: Store,
        identity: str,
        content: Mapping[str, Any],
        advance: Callable[[int, int], None],
    ) -> None:
        """Prepare to read an experiment.

        Args:
            store: The store that holds the results.
            identity: The experiment's identity.
            content: The experiment as the store describes it.
            advance: Called with the number of shards read and the number of all shards.

        Raises:
            InputError: If another version of segtransfer wrote the experiment.
        """
        if content.get("format") != FORMAT:
            raise InputError(
                f"experiment {identity[:12]} in {store.location} was written by another version "
                "of segtransfer; run it again, into this store or a new one"
            )
        self.store = store
        # Names and specs only; no numbers have been read yet.
        self.experiment = Results(identity, store, content, (), (), {}, {}, frozenset())
        self.missing: set[str] = set()  # keys of tasks whose results are missing or damaged
        self.missing_shards: set[str] = set()  # shards whose clean images are missing or damaged
        self.sequences: dict[str, str] = {}  # by image id, of the shards read so far
        self._advance = advance
        self.cells: dict[str, list[Cell]] = defaultdict(list)  # by shard
        for row in content["cells"]:
            cell = Cell(*row)
            self.cells[cell.shard_id].append(cell)

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence per kind of missing result: evaluations and attacks, and shards."""
        content = self.experiment.content
        keys = {key for cell in content["cells"] for key in cell[4:6] if key}
        counts = [
            (len(self.missing), len(keys), "results"),
            (
                len(self.missing_shards),
                len(content["shards"]),
                "shards of clean images and labels",
            ),
        ]
        return tuple(
            f"PARTIAL: {lacking} of {count} {noun} are missing or damaged and were left out; run "
            "the experiment again and export it anew"
            for lacking, count, noun in counts
            if lacking
        )

    def shards(self) -> Iterator[tuple[str, Shard | None]]:
        """Yield every shard's id and content, None for a missing or damaged shard."""
        shard_ids = self.experiment.content["shards"]
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
        perturbations: dict[str, list[Statistics] | None] = {}  # by attack key
        for cell in self.cells[shard_id]:
            evaluation = self.store.evaluation(cell.key)
            if evaluation is None:
                self.missing.add(cell.key)
                continue
            if cell.attack == CLEAN:
                clean[cell.target] = evaluation.predictions
            fooled, statistics = None, None
            if shard is not None and cell.target in clean:
                fooled = metrics.fooled(evaluation.predictions, clean[cell.target], shard.labels)
            if (key := cell.attack_key) is not None:
                if key not in perturbations:
                    perturbations[key] = self._perturbations(key)
                of_variants = perturbations[key]
                if of_variants is not None:
                    statistics = of_variants[self._variant_index(cell.attack)]
            yield ScoredShard(cell, evaluation, fooled, statistics)

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
                stored = self._images(key)
            if stored is not None:
                ids, images, perturbations = stored
                index = self._variant_index(cell.attack)
                yield AttackedShard(*origin, ids, images[index], perturbations[index])

    def _variant_index(self, attack: str) -> int:
        """Return the index of a variant among its attack's variants."""
        return self.experiment.variants[attack]["made"]

    def _perturbations(self, key: str) -> list[Statistics] | None:
        """Return the perturbations of an attack per variant; None if its row is missing."""
        row = self.store.row(key)
        if row is None:
            self.missing.add(key)
            return None
        return row.report["perturbation"]

    def _images(self, key: str) -> tuple[tuple[str, ...], np.ndarray, list[Statistics]] | None:
        """Return the ids, AEs and perturbations of an attack; None if missing or damaged."""
        row = self.store.row(key)
        content = None if row is None else self.store.blob(row)
        if row is None or content is None:
            self.missing.add(key)
            return None
        return *arrays.decode_images(content), row.report["perturbation"]
