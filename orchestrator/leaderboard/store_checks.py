"""The comparison of a leaderboard's document with a store: AEs, bounds, labels and scores."""

from collections.abc import Iterator

import numpy as np

from segtransfer.errors import InputError
from segtransfer.experiment.keys import evaluate_key
from segtransfer.leaderboard.record import AttackRecord, CountsRecord, MadeRecord, Record
from segtransfer.results.checked import label_counts
from segtransfer.store import Store
from segtransfer.store.arrays import decode_images
from segtransfer.tasks import metrics
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.image_metrics import OF_IMAGES
from segtransfer.tasks.labels import image_classes
from segtransfer.tasks.models.numerics import Numerics
from segtransfer.tasks.perturbation import levels, statistics


def store_problems(record: Record, store: Store) -> Iterator[str]:
    """Yield a sentence per AE, label or score of a document in contradiction to a store.

    Args:
        record: The document.
        store: The store with the AEs and evaluations.

    Yields:
        A sentence per shard, attack or target with a difference.

    Raises:
        InputError: If the store has no result.
    """
    if not store.keys():
        raise InputError(f"{store.location} holds no result; give the store of the leaderboard")
    shards: dict[str, list[int]] = {}
    for number, image in enumerate(record.data.images):
        shards.setdefault(image.shard, []).append(number)
    for shard_id, numbers in shards.items():
        shard = store.shard(shard_id)
        if shard is None:
            yield f"Shard {shard_id[:12]} is missing or damaged in the store."
            continue
        if list(shard.image_ids) != [record.data.images[n].id for n in numbers]:
            yield f"Shard {shard_id[:12]} has other images than data.images."
            continue
        whole = record.statistic.drop_of == OF_IMAGES
        labels = image_classes(shard.labels) if whole else shard.labels
        labelled = label_counts(labels)[:, : len(record.data.classes)]
        if not np.array_equal(labelled, [record.data.labelled[n] for n in numbers]):
            yield f"The labelled pixels of shard {shard_id[:12]} differ from the store's."
        for target, counts in record.clean.items():
            if not _is_scored(record, store, (target, shard_id, None, 0), counts, numbers):
                yield f"The counts of the clean images on {target} differ from the store's."
        for attack in record.attacks:
            yield from _attack_differences(record, store, attack, shard, numbers)


def _attack_differences(
    record: Record, store: Store, attack: AttackRecord, shard: Shard, numbers: list[int]
) -> Iterator[str]:
    """Yield the differences of an attack's AEs of a shard, and of their scores."""
    for part in attack.aes:
        if part.shard == shard.shard_id and (found := _ae_problem(record, store, part, shard)):
            yield f"The AEs of {attack.name} {found}."
    keys = {part.source: part.key for part in attack.aes if part.shard == shard.shard_id}
    for source, of_source in attack.counts.items():
        key = keys.get(source, keys.get(None))
        for target, counts in of_source.items():
            place = target, shard.shard_id, key, attack.variant
            if not _is_scored(record, store, place, counts, numbers):
                yield (
                    f"The counts of {attack.name} from {source} to {target} differ from the "
                    "store's."
                )


def _ae_problem(record: Record, store: Store, part: MadeRecord, shard: Shard) -> str | None:
    """Return how stored AEs contradict the document, or None."""
    row = store.row(part.key)
    content = None if row is None or row.kind != "attack" else store.blob(row)
    decoded = None if content is None else decode_images(content)
    if row is None or decoded is None:
        return f"with key {part.key[:12]} are missing or damaged in the store"
    if row.sha256 != part.sha256:
        return f"with key {part.key[:12]} have another sha256 in the store"
    bound = levels(record.threat.eps), 255 * record.threat.eps + 1e-6
    for images in decoded[1]:
        measured = statistics(images, shard.images, record.threat.eps)
        size = (
            max(measured["linf"]) - bound[0]
            if record.threat.norm == "linf"
            else max(measured["rms"]) - bound[1]
        )
        if size > 0:
            return f"with key {part.key[:12]} leave the bound in the store"
    return None


def _is_scored(
    record: Record,
    store: Store,
    place: tuple[str, str, str | None, int],
    counts: CountsRecord,
    numbers: list[int],
) -> bool:
    """Return whether the store has these counts of a shard.

    Args:
        record: The document.
        store: The store.
        place: Target, shard, key of the AEs (None for clean images), and index of the variant.
        counts: The counts of all images.
        numbers: The indices of the shard's images.
    """
    target, shard_id, attack, variant = place
    if target not in record.models:
        return False
    key = evaluate_key(
        record.models[target].fingerprint,
        shard_id,
        attack,
        variant=variant,
        num_classes=len(record.data.classes),
        numerics=Numerics.model_validate(record.numerics).identity(),
    )
    evaluation = store.evaluation(key)
    if evaluation is None:
        return False
    stored = metrics.class_counts(evaluation.confusions)
    recorded = [[counts.right[n] for n in numbers], [counts.predicted[n] for n in numbers]]
    return np.array_equal(stored[:, [0, 2]], np.moveaxis(np.array(recorded), 0, 1))
