"""Streaming reader of a stored experiment: a single shard in memory, missing results recorded."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

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
from segtransfer.results.warnings import is_random
from segtransfer.store import CommitRow, Evaluation, Store
from segtransfer.tasks import metrics
from segtransfer.tasks.data.base import sequence_of
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.image_metrics import OF_IMAGES
from segtransfer.tasks.labels import labels_of_grid

Statistics = Mapping[str, list[float]]  # of the perturbation, a value per image


@dataclass(frozen=True)
class StoredImage:
    """An image of a stored shard.

    Attributes:
        image_id: The id.
        sequence: The name of the image's video, or the id of a single image.
        pixels: The number of pixels of the label, ignored pixels included; 1 if targets are
            classifiers.
    """

    image_id: str
    sequence: str
    pixels: int


@dataclass(frozen=True)
class ScoredShard:
    """The evaluation of a shard's clean images or AEs on a target.

    Attributes:
        cell: The attack, source, target and shard.
        evaluation: The confusion matrices int64 N x K x K and the predictions of the N images.
        clean: The target's predictions on the clean images, uint8 N x H x W, or None if missing.
        labels: The labels, uint8 N x H x W, or None if missing; 255 is ignored.
    """

    cell: Cell
    evaluation: Evaluation
    clean: np.ndarray | None
    labels: np.ndarray | None

    @cached_property
    def fooled(self) -> np.ndarray | None:
        """Return the number of fooled pixels and of pixels right on the clean image, per image.

        Returns:
            int64 N x 2: pixels right on the clean image and wrong on the AE, and pixels right on
            the clean image. None if the labels or the clean predictions are missing.
        """
        if self.clean is None or self.labels is None:
            return None
        predictions = self.evaluation.predictions
        labels = labels_of_grid(self.labels, predictions.shape[1:])
        return metrics.fooled(predictions, self.clean, labels)


@dataclass(frozen=True)
class AttackedShard:
    """The AEs of a shard, made by a variant of an attack on a source.

    Attributes:
        attack: The name of the variant.
        source: The source, or None if the attack uses no model.
        image_ids: The N image ids.
        images: The AEs, uint8 N x 3 x H x W, RGB.
        perturbation: A list of N values by statistic; ``linf`` and ``rms`` in 8-bit levels.
    """

    attack: str
    source: str | None
    image_ids: tuple[str, ...]
    images: np.ndarray
    perturbation: Statistics


class ExperimentReader:
    """Reader of an experiment, shard by shard. Missing results are recorded and skipped.

    At most the images, the AEs and the clean predictions of a single shard are in memory. The
    reader changes nothing in the store.

    Attributes:
        missing: The keys of tasks whose results are missing or damaged, among those read so far.
        missing_shards: The ids of shards whose clean images are missing or damaged.
        random_targets: The targets with different answers to equal images, by a stored report.
        spans: Per attack, and for ``clean``, the start of the first and the end of the last task,
            in seconds since 1970.
        cells: The wanted cells by shard id, clean images first.
    """

    def __init__(
        self,
        store: Store,
        identity: str,
        manifest: Manifest,
        advance: Callable[[int, int], None] = lambda done, shards: None,
        wanted: Callable[[Cell], bool] = lambda cell: True,
    ) -> None:
        """Prepare to read an experiment; the first shard is read on iteration.

        Args:
            store: The store that holds the results.
            identity: The experiment's identity.
            manifest: The experiment's manifest.
            advance: Called with the number of shards read and the number of all shards.
            wanted: Returns whether to read a cell. Default: all cells.
        """
        self.store, self.identity, self.manifest = store, identity, manifest
        self.missing: set[str] = set()  # keys of tasks whose results are missing or damaged
        self.missing_shards: set[str] = set()  # shards whose clean images are missing or damaged
        self._images: dict[str, list[StoredImage]] = {}  # by shard, of the shards read so far
        self.random_targets: set[str] = set()  # targets with different answers to equal images
        # Start of the first and end of the last task, in seconds since 1970, by attack or clean.
        self.spans: dict[str, tuple[float, float]] = {}
        self._advance = advance
        self._variants = {variant.name: variant for variant in manifest.variants}
        self._rows: dict[str, CommitRow | None] = {}  # of attacks, without reports
        self._last: tuple[Any, dict[str, Any] | None] = (None, None)  # the report read last
        self.cells: dict[str, list[Cell]] = defaultdict(list)  # by shard, clean images first
        self._wanted = [cell for cell in manifest.cells if wanted(cell)]
        for cell in sorted(self._wanted, key=lambda cell: cell.attack != CLEAN):
            self.cells[cell.shard_id].append(cell)

    @property
    def images(self) -> list[StoredImage]:
        """Return the images of the shards read so far, in the order of reading."""
        return [image for images in self._images.values() for image in images]

    @property
    def notes(self) -> tuple[str, ...]:
        """Return a sentence per kind of missing result: evaluations and attacks, then shards.

        Returns:
            Up to two sentences that begin with PARTIAL; empty if nothing is missing so far.
        """
        keys = {key for cell in self._wanted for key in (cell.key, cell.attack_key) if key}
        shards = "shards of clean images and labels"
        counts = [
            (len(self.missing), len(keys), "results"),
            (len(self.missing_shards), len(self.manifest.shards), shards),
        ]
        return tuple(
            f"PARTIAL: {lacking} of {count} {noun} are missing or damaged and were left out. Run "
            "the experiment again, then repeat the export"
            for lacking, count, noun in counts
            if lacking
        )

    def shards(self) -> Iterator[tuple[str, Shard | None]]:
        """Yield the id and the content of every shard, in the order of the manifest.

        Yields:
            The shard's id, and the shard, or None if the shard is missing or damaged.
        """
        shard_ids = self.manifest.shards
        for number, shard_id in enumerate(shard_ids):
            self._advance(number, len(shard_ids))
            yield shard_id, self.shard(shard_id)
        self._advance(len(shard_ids), len(shard_ids))

    def shard(self, shard_id: str) -> Shard | None:
        """Return a shard whose videos follow the experiment's own ``data.sequence``.

        Shards are shared between experiments, so a shard may be stored with the videos of an older
        experiment's pattern.

        Args:
            shard_id: The shard's id.

        Returns:
            The shard, with images uint8 N x 3 x H x W and labels uint8 N x H x W. None, recorded in
            ``missing_shards``, if the shard is missing or damaged.
        """
        shard = self.store.shard(shard_id)
        if shard is None:
            self.missing_shards.add(shard_id)
            return None
        if pattern := self.manifest.settings.data.sequence:
            videos = tuple(sequence_of(image_id, pattern) for image_id in shard.image_ids)
            shard = replace(shard, sequences=videos)
        named = zip(shard.image_ids, shard.sequences, shard.labels, strict=True)
        whole = self.manifest.headline == OF_IMAGES
        self._images[shard_id] = [
            StoredImage(i, video, 1 if whole else label.size) for i, video, label in named
        ]
        return shard

    def scored(
        self, shard_id: str, shard: Shard | None, *, fooled: bool = True
    ) -> Iterator[ScoredShard]:
        """Yield the evaluations of a shard, clean images first.

        Keys of missing or damaged evaluations are added to ``missing``, and their cells are
        skipped.

        Args:
            shard_id: The shard's id.
            shard: Its content, or None if it is missing. Without content, evaluations are not
                compared with images and labels, and have no labels.
            fooled: Whether to keep the clean predictions of all targets in memory, to count fooled
                pixels. If False, ``ScoredShard.clean`` is None.

        Yields:
            An evaluation per wanted cell of the shard.
        """
        clean: dict[str, np.ndarray] = {}  # predictions by target
        labelled = None if shard is None else label_counts(shard.labels)
        for cell in self.cells[shard_id]:
            evaluation = self._scores(cell, shard, labelled)
            if evaluation is None:
                self.missing.add(cell.key)
                continue
            if is_random(evaluation.report):
                self.random_targets.add(cell.target)
            if cell.attack == CLEAN and fooled:
                clean[cell.target] = evaluation.predictions
            labels = None if shard is None else shard.labels
            yield ScoredShard(cell, evaluation, clean.get(cell.target), labels)

    def attack_reports(self) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
        """Yield the stored report of every attack task, once per variant.

        Yields:
            The variant's name, the source (None without a model) and the report. Missing and
            damaged reports are skipped, and their keys added to ``missing``.
        """
        seen: set[tuple[str, str]] = set()
        for cell in self._wanted:
            if cell.attack_key is not None and (cell.attack, cell.attack_key) not in seen:
                seen.add((cell.attack, cell.attack_key))
                if report := self._report(cell):
                    yield cell.attack, cell.source, report

    def perturbation(self, cell: Cell) -> Statistics | None:
        """Return perturbation statistics of the AEs that a cell scores.

        Args:
            cell: A cell of the experiment.

        Returns:
            A list with a value per image, by statistic. None for clean images, or if the report is
            missing or damaged.
        """
        report = None if cell.attack_key is None else self._report(cell)
        return None if report is None else report["perturbation"][self._variants[cell.attack].made]

    def adversarial(self, shard_id: str, shard: Shard | None) -> Iterator[AttackedShard]:
        """Yield the AEs of a shard per variant and source.

        AEs with other image ids or sizes than the shard's count as missing.

        Args:
            shard_id: The shard's id.
            shard: Its content, or None to skip the comparison of ids and sizes.

        Yields:
            The AEs of each variant and source, once. Missing AEs are skipped, and their keys added
            to ``missing``.
        """
        key, stored = None, None
        seen: set[tuple[str, str | None]] = set()
        for cell in self.cells[shard_id]:
            origin = cell.attack, cell.source
            if cell.attack_key is None or origin in seen:
                continue
            seen.add(origin)
            if cell.attack_key != key:
                key = cell.attack_key
                made = self._made(cell.attack)
                stored = attack_images(self.store, key, made) if self._fits(cell) else None
                if stored is not None and shard is not None and not _are_of(stored, shard):
                    stored = None
                if stored is None:
                    self.missing.add(key)
            if stored is not None:
                ids, images, perturbations = stored
                index = self._variants[cell.attack].made
                yield AttackedShard(*origin, ids, images[index], perturbations[index])

    def _report(self, cell: Cell) -> dict[str, Any] | None:
        """Return the report of the AEs of a cell; if missing, None, and record the key."""
        key, read = cell.attack_key, self._images.get(cell.shard_id)
        if key is None:
            return None
        images = None if read is None else len(read)
        attack = self._variants[cell.attack].attack
        asked = key, attack, cell.source, cell.shard_id, images
        if self._last[0] != asked:  # cells of an attack are adjacent, so its report is read once
            fits = self._fits(cell)
            made = self._made(cell.attack)
            self._last = asked, attack_report(self.store, key, made, images) if fits else None
        if self._last[1] is None:
            self.missing.add(key)
        return self._last[1]

    def _made(self, variant: str) -> int:
        """Return the number of variants stored by the attack of a variant."""
        attack = self._variants[variant].attack
        return 1 + max(other.made for other in self.manifest.variants if other.attack == attack)

    def _scores(
        self, cell: Cell, shard: Shard | None, labelled: np.ndarray | None
    ) -> Evaluation | None:
        """Return the scores of a cell whose AEs agree with the manifest, or None."""
        if not self._fits(cell):
            return None
        evaluation = scores(self.store, cell, shard, labelled, self.manifest)
        if evaluation is not None:
            self._extend_span(cell, evaluation.created, evaluation.report)
        return evaluation

    def _fits(self, cell: Cell) -> bool:
        """Return whether the stored AEs that a cell scores agree with the manifest."""
        key = cell.attack_key
        if key is not None and key not in self._rows:
            row = self.store.row(key)
            self._rows[key] = None if row is None else replace(row, report={})
            if row is not None:
                self._extend_span(cell, row.created, row.report)
        return key is None or attack_fits(self._rows[key], cell, self.manifest)

    def _extend_span(self, cell: Cell, created: str, report: Mapping[str, Any]) -> None:
        """Extend the time span of a cell's attack by a stored task."""
        cost = report.get("cost")
        seconds = cost.get("seconds") if isinstance(cost, dict) else None
        ended = datetime.fromisoformat(created).timestamp()
        took = seconds if isinstance(seconds, float) and 0 < seconds < ended else 0.0
        first, last = self.spans.get(cell.attack, (ended, ended))
        self.spans[cell.attack] = min(first, ended - took), max(last, ended)


def _are_of(aes: tuple[tuple[str, ...], np.ndarray, Any], shard: Shard) -> bool:
    """Return whether the ids and the shape of stored AEs are those of a shard."""
    ids, images, _ = aes
    return ids == shard.image_ids and images.shape[1:] == shard.images.shape
