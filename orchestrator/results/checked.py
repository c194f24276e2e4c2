"""Stored results that fit their place: scores of a shard's own images, reports of an attack."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np

from segtransfer.experiment.manifest import Manifest
from segtransfer.experiment.task import Cell
from segtransfer.store import CommitRow, Evaluation, Store, arrays
from segtransfer.tasks.data.shards import Shard
from segtransfer.tasks.labels import IGNORE_INDEX

COSTS = ("forwards", "backwards", "pixels", "seconds")


def scores(
    store: Store,
    cell: Cell,
    shard: Shard | None,
    labelled: np.ndarray | None,
    manifest: Manifest,
) -> Evaluation | None:
    """Return the stored scores of a cell.

    Args:
        store: The store.
        cell: The target, the shard, and the attack whose AEs are scored.
        shard: The shard, or None if its images and labels are missing.
        labelled: ``label_counts`` of the shard, or None with it.
        manifest: The classes and the fingerprints of the models.

    Returns:
        None if the scores are missing or damaged, have another number of classes, or are of
        another target, attack or shard, or of other images or labels than those of the shard.
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
    return replace(evaluation, report=row.report)


def label_counts(shard: Shard) -> np.ndarray:
    """Return the pixels of each image with each label, int64 N x 255; ignored pixels left out."""
    counts = [np.bincount(labels.ravel(), minlength=IGNORE_INDEX + 1) for labels in shard.labels]
    return np.stack(counts)[:, :IGNORE_INDEX]


def _is_of(row: CommitRow, cell: Cell, manifest: Manifest) -> bool:
    """Return whether a row names the cell's shard, attack and target, as far as it names any."""
    fingerprint = manifest.models[cell.target].fingerprint
    return (
        row.shard in (None, cell.shard_id)
        and (row.shard is None or row.images == cell.attack_key)
        and (row.model is None or row.model.startswith(fingerprint))
    )


def attack_fits(row: CommitRow | None, cell: Cell, manifest: Manifest) -> bool:
    """Return whether the row of an attack agrees with a manifest, as far as it names anything.

    Args:
        row: The row of the AEs that a cell scores; None if there is none, so that nothing differs.
        cell: The cell, with the names of the attack's variant, the source and the shard.
        manifest: The attacks and the fingerprints of the models.
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
    """Return whether two JSON values are equal, apart from fields that only one of them has."""
    if isinstance(a, dict) and isinstance(b, dict):
        return all(_agree(a[name], b[name]) for name in a.keys() & b.keys())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_agree, a, b))
    return bool(a == b)


def _are_of(evaluation: Evaluation, shard: Shard, labelled: np.ndarray) -> bool:
    """Return whether ids, sizes and the number of pixels per label are those of a shard."""
    if evaluation.image_ids != shard.image_ids:
        return False
    if evaluation.predictions.shape != shard.labels.shape:
        return False
    size = evaluation.confusions.shape[1]
    rows = evaluation.confusions.sum(2)
    return np.array_equal(rows, labelled[:, :size]) and not labelled[:, size:].any()


def attack_report(store: Store, key: str, variants: int) -> dict[str, Any] | None:
    """Return the report of a stored attack.

    Args:
        store: The store.
        key: The key of the attack.
        variants: The number of variants of which the report must have statistics.

    Returns:
        None if the row is missing or damaged, or is no report of such an attack.
    """
    row = store.row(key)
    if row is None or row.kind != "attack":
        return None
    report = row.report
    statistics, cost = report.get("perturbation"), report.get("cost")
    if not isinstance(statistics, list) or len(statistics) < variants:
        return None
    if not isinstance(cost, dict) or not isinstance(report.get("numerics"), dict):
        return None
    if not all(_is_table(table) for table in statistics):
        return None
    if not _is_health(report.get("health", [])):
        return None
    return report if not cost or _is_cost(cost, variants) else None


def attack_images(
    store: Store, key: str, variants: int
) -> tuple[tuple[str, ...], np.ndarray, list[dict[str, list[float]]]] | None:
    """Return the ids, AEs uint8 M x N x 3 x H x W and perturbations of a stored attack.

    Returns:
        None if a part is missing or damaged, or if these are fewer than ``variants``.
    """
    report, row = attack_report(store, key, variants), store.row(key)
    content = None if report is None or row is None else store.blob(row)
    decoded = None if content is None else arrays.decode_images(content)
    if report is None or decoded is None or len(decoded[1]) < variants:
        return None
    return *decoded, report["perturbation"]


def _is_table(table: Any) -> bool:
    """Return whether these are columns of numbers, a value per image."""
    if not isinstance(table, dict) or not {"linf", "rms"} <= table.keys():
        return False
    columns = list(table.values())
    if not all(isinstance(column, list) and column for column in columns):
        return False
    numbers = all(_is_number(value) for column in columns for value in column)
    return numbers and len({len(column) for column in columns}) == 1


def _is_health(health: Any) -> bool:
    """Return whether each run has shares of zero gradients, a list per step."""
    return isinstance(health, list) and all(
        isinstance(run, dict)
        and isinstance(steps := run.get("zero_gradients"), list)
        and all(isinstance(step, list) and all(map(_is_number, step)) for step in steps)
        for run in health
    )


def _is_cost(cost: dict[str, Any], variants: int) -> bool:
    equivalents = cost.get("forward_equivalents")
    if not isinstance(equivalents, list) or len(equivalents) < variants:
        return False
    return all(_is_number(value) for value in [*equivalents, *(cost.get(n) for n in COSTS)])


def _is_number(value: Any) -> bool:
    """Return whether a value is a number; the PSNR of an unchanged image is infinite."""
    return type(value) in (int, float) and not math.isnan(value)
