"""Comparison of clean mIoU with the mIoU published for a target's weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segtransfer.experiment.manifest import Manifest
from segtransfer.experiment.task import CLEAN, MatrixIndex
from segtransfer.tasks import metrics

NEAR = 1.0  # percentage points of mIoU: the published score used another resize of the images
ERRORS = 2.0  # standard errors in the margin


class _WithCounts(Protocol):
    @property
    def manifest(self) -> Manifest: ...
    @property
    def targets(self) -> list[str]: ...
    @property
    def counts(self) -> Mapping[MatrixIndex, np.ndarray]: ...


@dataclass(frozen=True)
class CleanAgainstPublished:
    """The clean mIoU of a target on this experiment's images, beside the published mIoU.

    Attributes:
        target: The target's name.
        clean: The clean mIoU in percent.
        published: The published mIoU of the weights on the whole data set, in percent.
        margin: The tolerated distance in percentage points: ``NEAR`` plus ``ERRORS`` standard
            errors of the clean mIoU over images.
    """

    target: str
    clean: float
    published: float
    margin: float

    @property
    def reached(self) -> bool:
        """Return whether clean and published mIoU differ by at most the margin."""
        return abs(self.clean - self.published) <= self.margin


def published_scores(results: _WithCounts) -> tuple[CleanAgainstPublished, ...]:
    """Compare the clean mIoU of every target that has a published mIoU on this data set.

    Args:
        results: Counts per cell, int32 N x 3 x K, and the manifest with published values.

    Returns:
        A comparison per target, in the order of targets. Targets without clean counts or without
        labelled pixels are left out.
    """
    found = []
    for target in results.targets:
        published = results.manifest.models[target].published
        counts = results.counts.get((CLEAN, None, target))
        if published is not None and counts is not None and counts[:, 1].any():
            clean = float(metrics.miou_of(*counts.sum(0, dtype=np.int64)))
            margin = NEAR + ERRORS * _standard_error(counts)
            found.append(CleanAgainstPublished(target, clean, published, margin))
    return tuple(found)


def published_line(results: _WithCounts) -> str:
    """Return a line with the clean and the published mIoU of each target.

    Args:
        results: As for ``published_scores``.

    Returns:
        A line without a full stop; empty if no target has a published mIoU.
    """
    scores = published_scores(results)
    if not scores:
        return ""
    reached = sum(score.reached for score in scores)
    each = ", ".join(f"{s.target} {s.clean:.1f} of {s.published:.1f}" for s in scores)
    return f"Clean mIoU as published: {reached} of {len(scores)} targets ({each})"


def _standard_error(counts: np.ndarray) -> float:
    """Return the jackknife standard error of data set mIoU over images, in percentage points.

    Args:
        counts: The right, labelled and predicted pixels per image and class, N x 3 x K.

    Returns:
        The standard error; 0 for a single image.
    """
    count = len(counts)
    if count < 2:
        return 0.0
    rest = counts.sum(0, dtype=np.int64) - counts
    left_out = metrics.miou_of(rest[:, 0], rest[:, 1], rest[:, 2])
    spread = np.square(left_out - np.nanmean(left_out))
    return float(np.sqrt((count - 1) / count * np.nansum(spread)))
