"""Results that no model made: any number of sources, targets and attacks, in a moment."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segtransfer.experiment.manifest import FORMAT, Manifest
from segtransfer.experiment.task import CLEAN
from segtransfer.results import Results
from segtransfer.store.arrays import Evaluation, encode_evaluation, encode_images
from segtransfer.store.rows import CommitRow
from segtransfer.tasks import metrics, perturbation
from segtransfer.tasks.appearance import appearance
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.image_files import read_image
from segtransfer.tasks.labels import IGNORE_INDEX
from tests.orchestrator.manifests import digest

CREATED = "2026-01-01T00:00:00+00:00"
CAMVID = Path(metrics.__file__).parent / "data/camvid/images"


@dataclass
class MadeUpStore:
    """What the page asks of a store, answered from memory."""

    location: str = "made-up"
    shards: dict[str, Shard] = field(default_factory=dict)
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    images: dict[str, np.ndarray] = field(default_factory=dict)
    ids: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of AEs
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def shard(self, shard_id: str) -> Shard | None:
        return self.shards.get(shard_id)

    def evaluation(self, key: str) -> Evaluation | None:
        return self.evaluations.get(key)

    def row(self, key: str) -> CommitRow | None:
        if key in self.evaluations:
            return CommitRow(key, "evaluate", blob=key, sha256="", report={}, created=CREATED)
        if key not in self.reports:
            return None
        report = self.reports[key]
        return CommitRow(key, "attack", blob=key, sha256="", report=report, created=CREATED)

    def blob(self, row: CommitRow) -> bytes | None:
        if row.kind == "evaluate":
            found = self.evaluations[row.key]
            return encode_evaluation(found.image_ids, found.confusions, found.predictions)
        ids = self.ids[row.key]
        return encode_images(ids, self.images[row.key]) if row.key in self.images else None

    def failure(self, key: str) -> dict[str, Any] | None:
        return self.failures.get(key)


def made_up(
    attacks: list[dict[str, Any]],
    *,
    sources: int = 3,
    targets: int = 3,
    backbones: int = 2,
    classes: int = 3,
    images: int = 6,
    size: tuple[int, int] = (24, 32),
    missing: tuple[tuple[str, str, str], ...] = (),
    pictures: bool = True,
    name: str = "made up",
    prefix: str = "net",
    seed: int = 0,
) -> Results:
    """An experiment of two images a shard.

    Model i is called ``<prefix>-i`` and has backbone i % backbones.

    Every evaluation predicts the label except on blobs, larger under attack and largest where it
    is white-box, as far as ``missing`` (attack, source, target) does not hold it. Images are those
    of CamVid where they are as large as those, else noise.
    """
    generator = np.random.default_rng(seed)
    specs = [AttackSpec.model_validate(attack) for attack in attacks]
    names = [f"{prefix}-{number}" for number in range(max(sources, targets))]
    store = MadeUpStore()
    shards = _shards(generator, images, size, classes)
    store.shards = {shard.shard_id: shard for shard in shards}
    models = {
        name: {
            "fingerprint": digest(name),
            "backbone": f"Backbone-{number % backbones}",
            "networks": [[name, f"Backbone-{number % backbones}"]],
        }
        for number, name in enumerate(names)
    }
    made = [
        {"attack": spec.name, "made": number, **asdict(made)}
        for spec in specs
        for number, made in enumerate(spec.variants)
    ]
    cells: list[list[Any]] = []
    matrices, fooled = {}, {}

    def evaluate(attack: str, source: str | None, target: str, errors: float, keys: Any) -> None:
        counts, turned = [], []
        for shard in shards:
            key = digest(f"{attack}|{source}|{target}|{shard.shard_id}")
            cells.append([attack, source, target, shard.shard_id, key, keys and keys(shard)])
            predictions = _predicted(generator, shard.labels, classes, errors)
            counts.append(metrics.confusion(predictions, shard.labels, classes))
            ids = shard.image_ids
            if (attack, source, target) not in missing:
                store.evaluations[key] = Evaluation(ids, counts[-1], predictions)
                clean = store.evaluations[
                    digest(f"clean|None|{target}|{shard.shard_id}")
                ].predictions
                turned.append(metrics.fooled(predictions, clean, shard.labels))
        if (attack, source, target) not in missing:
            matrices[attack, source, target] = metrics.class_counts(np.concatenate(counts))
            fooled[attack, source, target] = np.concatenate(turned)

    for target in names[:targets]:
        evaluate(CLEAN, None, target, 0.1, None)
    for number, spec in enumerate(specs):
        for source in names[:sources] if spec.steps else [None]:

            def keys(shard: Shard, spec: AttackSpec = spec, source: str | None = source) -> str:
                return digest(f"{spec.name}|{source}|{shard.shard_id}")

            for shard in shards:
                _attack(store, generator, keys(shard), spec, shard, pictures)
            for place, one in enumerate(spec.variants):
                for target in names[:targets]:
                    strength = 0.45 if source == target else 0.25
                    strength += 0.02 * number + 0.03 * place
                    errors = strength if spec.steps else 0.12
                    evaluate(one.name, source, target, errors, keys)
    content = {
        "format": FORMAT,
        "spec": {
            "name": name,
            "seed": 0,
            "schedule_groups": 4,
            "numerics": {},
            "attacks": [spec.model_dump(mode="json") for spec in specs],
        },
        "dataset": "blobs",
        "classes": [f"class-{k}" for k in range(classes)],
        "palette": generator.integers(0, 256, (classes, 3)).tolist(),
        "models": models,
        "sources": names[:sources],
        "targets": names[:targets],
        "attacks": made,
        "shards": list(store.shards),
        "cells": cells,
    }
    gone = frozenset(c[4] for c in cells if c[4] not in store.evaluations)
    return Results(
        identity=digest(name),
        store=store,  # type: ignore[arg-type]
        manifest=Manifest.model_validate(content),
        image_ids=tuple(i for shard in shards for i in shard.image_ids),
        sequences=tuple(s for shard in shards for s in shard.sequences),
        counts=matrices,
        fooled=fooled,
        missing=gone,
    )


def _shards(
    generator: np.random.Generator, images: int, size: tuple[int, int], classes: int
) -> list[Shard]:
    photos = sorted(CAMVID.glob("*.png"))
    shards = []
    for first in range(0, images, 2):
        count = min(2, images - first)
        shown = generator.integers(0, 256, (count, 3, *size), np.uint8)
        for place in range(count):
            photo = read_image(photos[(first + place) % len(photos)]).transpose(2, 0, 1)
            if photo.shape[1] >= size[0] and photo.shape[2] >= size[1] and size[0] > 100:
                shown[place] = photo[:, : size[0], : size[1]]
        labels = np.stack([_blobs(generator, size, classes) for _ in range(count)])
        labels[:, : size[0] // 8] = IGNORE_INDEX
        ids = tuple(f"image-{first + place}" for place in range(count))
        shard_id = digest(repr((ids, size)))
        shards.append(Shard(shard_id, first // 2 % 4, ids, ids, shown, labels))
    return shards


def _blobs(generator: np.random.Generator, size: tuple[int, int], classes: int) -> np.ndarray:
    """Smooth regions of classes, uint8 H x W."""
    coarse = generator.random((classes, size[0] // 8 + 1, size[1] // 8 + 1))
    smooth = coarse.repeat(8, 1).repeat(8, 2)[:, : size[0], : size[1]]
    return smooth.argmax(0).astype(np.uint8)


def _predicted(
    generator: np.random.Generator, labels: np.ndarray, classes: int, errors: float
) -> np.ndarray:
    """Labels with about a share of blobs turned into other classes."""
    predictions = np.where(labels == IGNORE_INDEX, 0, labels)
    for place, label in enumerate(predictions):
        size = label.shape
        coarse = generator.random((size[0] // 4 + 1, size[1] // 4 + 1)) < errors
        wrong = coarse.repeat(4, 0).repeat(4, 1)[: size[0], : size[1]]
        other = (label + 1 + generator.integers(max(classes - 1, 1))) % classes
        predictions[place] = np.where(wrong, other, label)
    return predictions.astype(np.uint8)


def _attack(
    store: MadeUpStore,
    generator: np.random.Generator,
    key: str,
    spec: AttackSpec,
    shard: Shard,
    pictures: bool,
) -> None:
    bound = perturbation.levels(spec.eps)
    adversarial = np.stack(
        [
            (shard.images + generator.integers(-bound, bound + 1, shard.images.shape, np.int16))
            .clip(0, 255)
            .astype(np.uint8)
            for _ in spec.variants
        ]
    )
    store.ids[key] = shard.image_ids
    if pictures:
        store.images[key] = adversarial
    equivalents = [float(one.step) for one in spec.variants]
    cost = {"forwards": 20, "backwards": 20, "pixels": 1000, "seconds": 1.5}
    store.reports[key] = {
        "appearance": [appearance(made, shard.images) for made in adversarial],
        "perturbation": [
            perturbation.statistics(made, shard.images, spec.eps) for made in adversarial
        ],
        "cost": cost | {"forward_equivalents": equivalents} if spec.steps else {},
        "numerics": {},
    }
