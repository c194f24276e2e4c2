"""Metrics of the cells of a matrix, and transfer ratios."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import pandas as pd

from segtransfer.experiment.manifest import Manifest, ManifestAttack
from segtransfer.experiment.task import CLEAN, MatrixIndex
from segtransfer.tasks import metrics
from segtransfer.tasks.image_metrics import OF_IMAGES, is_offered, quality

# Metrics of a single confusion matrix, in percent.
CONFUSION_METRICS = tuple(n for n, metric in metrics.METRICS.items() if metric.of_margins)
DERIVED = ("drop", "ratio")  # from the headline metric of several cells
ALL_METRICS = (*CONFUSION_METRICS, "fooling", *DERIVED)


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


class Measures:
    """The headline metric of results, and the scores of single classes.

    Attributes:
        manifest: The experiment's manifest.
        counts: Per cell the right, labelled and predicted pixels, integers N x 3 x K.
    """

    manifest: Manifest
    counts: Mapping[MatrixIndex, np.ndarray]

    @property
    def headline(self) -> str:
        """Return the metric of tables, drops and ratios: ``miou``, or ``aacc`` for classifiers."""
        return self.manifest.headline

    @property
    def quality(self) -> str:
        """Return the headline metric in text: "mIoU", or "accuracy" for classifiers."""
        return quality(self.headline)

    @property
    def headline_in_words(self) -> str:
        """Return the headline metric as the start of a heading: "Dataset mIoU" or "Accuracy"."""
        return "Accuracy" if self.headline == OF_IMAGES else "Dataset mIoU"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the shipped metrics that make sense for the targets."""
        return tuple(name for name in ALL_METRICS if is_offered(name, self.headline))

    @property
    def classes(self) -> list[str]:
        """Return the names of the K classes."""
        return list(self.manifest.classes)

    def needs_source(self, attack: str) -> bool:
        """Return whether an attack uses a model; an attack of zero steps uses none."""
        return self.manifest.attacks[attack].steps > 0

    def class_iou(self, attack: str, source: str | None, target: str) -> pd.Series:
        """Return the IoU of every class in a cell, over all images together.

        Args:
            attack: The name of an attack's variant, or ``clean``.
            source: The source; ignored for clean images and for an attack without a model.
            target: The target.

        Returns:
            A float Series in percent, indexed by class, NaN for a class neither labelled nor
            predicted.

        Raises:
            KeyError: If the attack is unknown or the cell has no result.
        """
        cell = attack, source if attack != CLEAN and self.needs_source(attack) else None, target
        return pd.Series(metrics.class_iou_of(*self.counts[cell].sum(0)), index=self.classes)

    def class_scores(self, attack: str, source: str | None, target: str) -> pd.Series:
        """Return the score of every class in a cell: its IoU, or a classifier's accuracy.

        Arguments and errors are those of ``class_iou``.

        Returns:
            A float Series in percent, indexed by class. The accuracy is the share of right images
            among the class's images, NaN for a class without images.
        """
        if self.headline != OF_IMAGES:
            return self.class_iou(attack, source, target)
        cell = attack, source if attack != CLEAN and self.needs_source(attack) else None, target
        right, labelled, _ = self.counts[cell].sum(0)
        return pd.Series(100 * right / np.where(labelled, labelled, np.nan), index=self.classes)
