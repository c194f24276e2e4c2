"""Metrics of the cells of a matrix, and transfer ratios."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import pandas as pd

from segtransfer.experiment.manifest import ManifestAttack
from segtransfer.experiment.task import CLEAN, MatrixIndex
from segtransfer.tasks import metrics


class _Matrices(Protocol):
    """The part of ``Results`` from which metrics of cells follow."""

    @property
    def headline(self) -> str: ...
    @property
    def metrics(self) -> tuple[str, ...]: ...
    @property
    def attacks(self) -> list[str]: ...
    @property
    def sources(self) -> list[str]: ...
    @property
    def targets(self) -> list[str]: ...
    @property
    def counts(self) -> Mapping[MatrixIndex, np.ndarray]: ...
    @property
    def fooled(self) -> Mapping[MatrixIndex, np.ndarray]: ...
    def attack_spec(self, attack: str) -> ManifestAttack: ...
    def group(self, source: str, target: str) -> str: ...
    def matrix(self, attack: str, metric: str | None = None) -> pd.DataFrame: ...
    def strongest(self, attack: str, target: str) -> tuple[str, str] | None: ...


def strongest(results: _Matrices, attack: str, target: str) -> tuple[str, str] | None:
    """Return the white-box attack in the denominator of transfer ratios, as ``Results`` does.

    Args:
        results: The results.
        attack: The variant whose norm and eps the white-box attack must share.
        target: The target.
    """
    spec = results.attack_spec(attack)
    candidates = []
    for name in results.attacks:
        other = results.attack_spec(name)
        if other.steps == 0 or (other.norm, other.eps) != (spec.norm, spec.eps):
            continue
        for source in results.sources:
            if results.group(source, target) == "diagonal":
                value = percent(results, (name, source, target), results.headline)
                candidates.append((value, name, source))
    if not candidates or any(np.isnan(value) for value, *_ in candidates):
        return None
    _, name, source = min(candidates)
    return name, source


def percent(results: _Matrices, cell: MatrixIndex, metric: str) -> float:
    """Return a metric of a cell in percent; NaN without a result.

    Args:
        results: The results.
        cell: Attack, source and target.
        metric: A metric other than ``drop`` and ``ratio``.

    Raises:
        KeyError: If the metric is unknown.
    """
    if metric not in results.metrics and not metrics.METRICS.is_foreign(metric):
        raise KeyError(f"no metric '{metric}'; there are {', '.join(results.metrics)}")
    if cell not in results.counts:
        return np.nan
    if metric == "fooling":
        if cell not in results.fooled:
            return np.nan
        return float(metrics.fooling_of(*results.fooled[cell].sum(0)))
    return float(metrics.of_margins(metric)(*results.counts[cell].sum(0)))


def ratios(results: _Matrices, attack: str) -> pd.DataFrame:
    """Return the transfer ratios of an attack in percent, sources by targets.

    A column is NaN without a white-box attack on its target, or if that attack's drop is 0.

    Args:
        results: The results.
        attack: The name of the variant.
    """
    drops = results.matrix(attack, "drop")
    most = []
    for target in results.targets:
        found = results.strongest(attack, target)
        least = percent(results, (*found, target), results.headline) if found else np.nan
        most.append(percent(results, (CLEAN, None, target), results.headline) - least)
    scale = pd.Series(most, index=results.targets)
    return 100 * drops / scale.where(scale != 0)
