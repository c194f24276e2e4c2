"""The norm at 99 % fooled pixels of each image, from stored counts and perturbations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from segtransfer.experiment.manifest import Manifest, ManifestAttack
from segtransfer.experiment.task import Cell, MatrixIndex
from segtransfer.results.reader import ExperimentReader
from segtransfer.store import Store
from segtransfer.tasks.attacks.loops.spec import minimises_norm
from segtransfer.tasks.fooled import norms


class _Stored(Protocol):
    @property
    def identity(self) -> str: ...
    @property
    def store(self) -> Store: ...
    @property
    def manifest(self) -> Manifest: ...
    @property
    def image_ids(self) -> Sequence[str]: ...
    @property
    def counts(self) -> Mapping[MatrixIndex, np.ndarray]: ...
    def attack_spec(self, attack: str) -> ManifestAttack: ...


@dataclass(frozen=True)
class NormSummary:
    """The norms at 99 % fooled pixels of an attack, over all sources and images.

    Attributes:
        median: The median in 8-bit levels; infinite if most images are not reached, NaN without a
            norm.
        reached: The share of the images with 99 % fooled pixels, in percent; NaN without a norm.
    """

    median: float
    reached: float


def norms_of(results: _Stored, attack: str) -> pd.DataFrame:
    """Return the norm at 99 % fooled pixels of each image, as ``Results.norms``.

    Args:
        results: The results, with counts per image.
        attack: The name of an attack's variant.
    """
    sources, targets = results.manifest.sources, results.manifest.targets
    measured = [source for source in sources if source in targets]
    if results.attack_spec(attack).target is not None:
        measured = []  # counts tell wrong pixels, not pixels on their target

    def wanted(cell: Cell) -> bool:
        return cell.attack == attack and cell.source == cell.target and cell.source in measured

    reader = ExperimentReader(results.store, results.identity, results.manifest, wanted=wanted)
    linf: dict[str, list[float]] = {source: [] for source in measured}
    for shard_id in results.manifest.shards:
        for cell in reader.cells[shard_id]:
            linf[cell.target] += (reader.perturbation(cell) or {}).get("linf", [])
    frame = pd.DataFrame(np.nan, index=list(results.image_ids), columns=list(sources), dtype=float)
    for source in measured:
        counts = results.counts.get((attack, source, source))
        if counts is not None and len(counts) == len(linf[source]) == len(frame):
            right, labelled = counts[:, 0].sum(1), counts[:, 1].sum(1)
            frame[source] = norms(np.array(linf[source]), labelled - right, labelled)
    return frame.rename_axis(index="image_id", columns="source")


def summarise_norms(results: _Stored, attack: str) -> NormSummary:
    """Return the median norm of an attack that seeks the smallest, and the share of images reached.

    Args:
        results: The results, with counts per image.
        attack: The name of an attack's variant.

    Returns:
        NaN for an attack within a fixed bound, and without a measured norm.
    """
    if not minimises_norm(results.attack_spec(attack).loop):
        return NormSummary(np.nan, np.nan)
    values = norms_of(results, attack).to_numpy().ravel()
    values = values[~np.isnan(values)]
    if not len(values):
        return NormSummary(np.nan, np.nan)
    # A middle of two infinite norms is infinite; numpy's mean of them would be NaN in between.
    middle = np.sort(values)[[(len(values) - 1) // 2, len(values) // 2]]
    return NormSummary(float(middle.sum() / 2), float(100 * np.isfinite(values).mean()))
