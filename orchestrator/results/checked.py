"""Stored results that match the manifest: scores of a shard's own images, reports of an attack."""

import json
from dataclasses import replace
from typing import Any

import numpy as np

from segtransfer.experiment.manifest import Manifest
from segtransfer.experiment.task import Cell
from segtransfer.store import CommitRow, Evaluation, Store, arrays
from segtransfer.store.reports import is_attack_report
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.labels import IGNORE_INDEX, labels_of_grid


def scores(
    store: Store,
    cell: Cell,
    shard: Shard | None,
    labelled: np.ndarray | None,
    manifest: Manifest,
) -> Evaluation | None:
    """Return the stored scores of a cell, or None if they cannot be used.

    Args:
        store: The store.
        cell: The target, the shard, and the attack whose AEs are scored.
        shard: The shard, or None if its images and labels are missing. Without a shard the scores
            are not compared with images and labels.
        labelled: ``label_counts`` of the shard, or None with it.
        manifest: The classes and the fingerprints of the models.

    Returns:
        The confusion matrices int64 N x K x K and predictions uint8 N x H x W, with the row's
        report and time. None if the scores are missing or damaged, have another number of classes,
        or belong to another target, attack, shard, images or labels.
    """
    row = store.row(cell.key)
    if row is None or row.kind != "evaluate" or not _is_of(row, cell, manifest):
        return None
    blob = store.blob(row)
    evaluation = None if blob is None else arrays.decode_evaluation(blob)
    size = len(manifest.classes)
    if evaluation is None or evaluation.confusions.shape[1:] != (size, size):
        return None
    if shard is not None and labelled is not None and not _are_of(evaluation, shard, labelled):
        return None
    return replace(evaluation, report=row.report, created=row.created)


def label_counts(labels: np.ndarray) -> np.ndarray:
    """Return the number of pixels per image and label, without ignored pixels.

    Args:
        labels: The labels of a shard, uint8 N x h x w.

    Returns:
        int64 N x 255, a column per label 0 to 254.
    """
    counts = [np.bincount(image.ravel(), minlength=IGNORE_INDEX + 1) for image in labels]
    return np.stack(counts)[:, :IGNORE_INDEX]


def _is_of(row: CommitRow, cell: Cell, manifest: Manifest) -> bool:
    """Return whether a row has the cell's shard, attack and target; fields not stored match."""
    fingerprint = manifest.models[cell.target].fingerprint
    return (
        row.shard in (None, cell.shard_id)
        and (row.shard is None or row.images == cell.attack_key)
        and (row.model is None or row.model.startswith(fingerprint))
    )


def attack_fits(row: CommitRow | None, cell: Cell, manifest: Manifest) -> bool:
    """Return whether the row of an attack agrees with a manifest; fields not stored match.

    Args:
        row: The row of the AEs that a cell scores. None, for a missing row, agrees.
        cell: The cell, with the names of the attack's variant, the source and the shard. A cell of
            clean images agrees with any row.
        manifest: The attacks and the fingerprints of the models.

    Returns:
        False if the row is of another kind, shard, model or attack spec, or if its spec is no JSON.
    """
    if row is None or cell.attack_key is None:
        return True
    source = manifest.models[cell.source] if cell.source else None
    spec = manifest.stored_attack(cell.attack)
    try:
        attack = json.loads(row.attack or "{}")
    except (ValueError, RecursionError):
        return False
    return (
        row.kind == "attack"
        and row.shard in (None, cell.shard_id)
        and (row.model is None or source is None or row.model.startswith(source.fingerprint))
        and _agree(attack, spec)
    )


def _agree(a: Any, b: Any) -> bool:
    """Return whether two JSON values are equal, apart from fields missing in either."""
    if isinstance(a, dict) and isinstance(b, dict):
        return all(_agree(a[name], b[name]) for name in a.keys() & b.keys())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_agree, a, b))
    return bool(a == b)


def _are_of(evaluation: Evaluation, shard: Shard, labelled: np.ndarray) -> bool:
    """Return whether ids, sizes and pixels per label of an evaluation are those of a shard."""
    if evaluation.image_ids != shard.image_ids:
        return False
    labels = labels_of_grid(shard.labels, evaluation.predictions.shape[1:])
    if evaluation.predictions.shape != labels.shape:
        return False
    labelled = labelled if labels is shard.labels else label_counts(labels)
    size = evaluation.confusions.shape[1]
    rows = evaluation.confusions.sum(2)
    return np.array_equal(rows, labelled[:, :size]) and not labelled[:, size:].any()


def attack_report(
    store: Store, key: str, variants: int, images: int | None = None
) -> dict[str, Any] | None:
    """Return the report of a stored attack.

    Args:
        store: The store.
        key: The key of the attack.
        variants: The number of variants for which the report must have statistics.
        images: The number of images with statistics per variant; None to skip this check.

    Returns:
        The report. None if the row is missing or damaged, or is no report of such an attack.
    """
    row = store.row(key)
    if row is None or row.kind != "attack":
        return None
    return row.report if is_attack_report(row.report, variants, images) else None


def attack_images(
    store: Store, key: str, variants: int
) -> tuple[tuple[str, ...], np.ndarray, list[dict[str, list[float]]]] | None:
    """Return the ids, the AEs and the perturbation statistics of a stored attack.

    Args:
        store: The store.
        key: The key of the attack.
        variants: The least number M of variants.

    Returns:
        The N image ids, the AEs uint8 M x N x 3 x H x W, and per variant a list of N values by
        statistic (``linf`` and ``rms`` in 8-bit levels). None if the row, the blob or the report is
        missing or damaged, or if there are fewer than ``variants`` variants.
    """
    row = store.row(key)
    content = None if row is None or row.kind != "attack" else store.blob(row)
    decoded = None if content is None else arrays.decode_images(content)
    if decoded is None or len(decoded[1]) < variants:
        return None
    report = attack_report(store, key, variants, len(decoded[0]))
    return None if report is None else (*decoded, report["perturbation"])
