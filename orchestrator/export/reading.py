"""One experiment of a store, read a shard at a time; what is missing is noted on the way."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segtransfer.errors import InputError
from segtransfer.experiment.task import CLEAN
from segtransfer.experiment.task import Cell as Place
from segtransfer.results import FORMAT, Results
from segtransfer.store import Evaluation, Store, arrays
from segtransfer.tasks import metrics
from segtransfer.tasks.data.shards import Shard

Statistics = Mapping[str, list[float]]  # of the perturbation, one value an image


@dataclass(frozen=True)
class Scored:
    """One evaluation of a shard: where it stands, its arrays, for each image the pixels that the
    attack turned wrong and those that were right (int64 N x 2), and the perturbations; None where
    either is not known."""

    place: Place
    evaluation: Evaluation
    fooled: np.ndarray | None
    perturbation: Statistics | None


@dataclass(frozen=True)
class Made:
    """The AEs uint8 N x 3 x H x W that an attack made of a shard on a source."""

    attack: str
    source: str | None
    image_ids: tuple[str, ...]
    images: np.ndarray
    perturbation: Statistics


class Reader:
    """Reads an experiment shard by shard; what the store lacks is noted, and left out."""

    def __init__(
        self,
        store: Store,
        identity: str,
        content: Mapping[str, Any],
        advance: Callable[[int, int], None],
    ) -> None:
        """``advance`` hears how many shards are done, of how many."""
        if content.get("format") != FORMAT:
            raise InputError(
                f"experiment {identity[:12]} in {store.location} was written by another version "
                "of segtransfer; run it again, into this store or a new one"
            )
        self.store = store
        # Names and specs: of numbers nothing is known yet.
        self.experiment = Results(identity, store, content, (), (), {}, {}, frozenset())
        self.missing: set[str] = set()  # keys of tasks whose results are missing or damaged
        self.lost: set[str] = set()  # shards whose clean images are
        self.sequences: dict[str, str] = {}  # of every image seen
        self._advance = advance
        self.places: dict[str, list[Place]] = defaultdict(list)  # by shard
        for row in content["cells"]:
            place = Place(*row)
            self.places[place.shard_id].append(place)

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each kind of thing that is missing."""
        content = self.experiment.content
        keys = {key for cell in content["cells"] for key in cell[4:6] if key}
        counts = [
            (len(self.missing), len(keys), "results"),
            (len(self.lost), len(content["shards"]), "shards of clean images and labels"),
        ]
        return tuple(
            f"PARTIAL: {lacking} of {count} {what} are missing or damaged and were left out; run "
            "the experiment again and export it anew"
            for lacking, count, what in counts
            if lacking
        )

    def shards(self) -> Iterator[tuple[str, Shard | None]]:
        """Every shard's id and content, None where that is missing or damaged."""
        shard_ids = self.experiment.content["shards"]
        for number, shard_id in enumerate(shard_ids):
            self._advance(number, len(shard_ids))
            shard = self.store.shard(shard_id)
            if shard is None:
                self.lost.add(shard_id)
            else:
                self.sequences |= zip(shard.image_ids, shard.sequences, strict=True)
            yield shard_id, shard
        self._advance(len(shard_ids), len(shard_ids))

    def scored(self, shard_id: str, shard: Shard | None) -> Iterator[Scored]:
        """The evaluations of a shard, clean ones first."""
        clean: dict[str, np.ndarray] = {}  # predictions by target
        perturbations: dict[str, list[Statistics] | None] = {}  # by attack key
        for place in self.places[shard_id]:
            evaluation = self.store.evaluation(place.key)
            if evaluation is None:
                self.missing.add(place.key)
                continue
            if place.attack == CLEAN:
                clean[place.target] = evaluation.predictions
            fooled, statistics = None, None
            if shard is not None and place.target in clean:
                fooled = metrics.fooled(evaluation.predictions, clean[place.target], shard.labels)
            if (key := place.attack_key) is not None:
                if key not in perturbations:
                    perturbations[key] = self._perturbations(key)
                made = perturbations[key]
                statistics = None if made is None else made[self._number(place.attack)]
            yield Scored(place, evaluation, fooled, statistics)

    def adversarial(self, shard_id: str) -> Iterator[Made]:
        """What the attacks made of a shard."""
        key, found = None, None
        seen: set[tuple[str, str | None]] = set()
        for place in self.places[shard_id]:
            made = place.attack, place.source
            if place.attack_key is None or made in seen:
                continue
            seen.add(made)
            if place.attack_key != key:
                key = place.attack_key
                found = self._images(key)
            if found is not None:
                ids, images, perturbations = found
                number = self._number(place.attack)
                yield Made(*made, ids, images[number], perturbations[number])

    def _number(self, attack: str) -> int:
        """Which of the images that its attack makes of an image this is."""
        return self.experiment.made[attack]["made"]

    def _perturbations(self, key: str) -> list[Statistics] | None:
        """Of each of the images that an attack made; None where its row is missing or damaged."""
        row = self.store.row(key)
        if row is None:
            self.missing.add(key)
            return None
        return row.report["perturbation"]

    def _images(self, key: str) -> tuple[tuple[str, ...], np.ndarray, list[Statistics]] | None:
        """The ids, AEs and perturbations of an attack; None where missing or damaged."""
        row = self.store.row(key)
        content = None if row is None else self.store.blob(row)
        if row is None or content is None:
            self.missing.add(key)
            return None
        return *arrays.decode_images(content), row.report["perturbation"]
