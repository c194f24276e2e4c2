"""Clean mIoU against the mIoU that is published for a target's weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segtransfer.experiment.manifest import Manifest
from segtransfer.experiment.task import CLEAN, MatrixIndex
from segtransfer.tasks import metrics

NEAR = 1.0  # points of mIoU, beside the margin: images are resized by other code than theirs
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
    """A target's clean mIoU on the images at hand, and the published one on all images.

    Attributes:
        target: The target's name.
        clean: The clean mIoU in percent.
        published: The published mIoU in percent.
        margin: The distance in points that a choice of as many images explains.
    """

    target: str
    clean: float
    published: float
    margin: float

    @property
    def reached(self) -> bool:
        """Return whether the clean mIoU is as published, within the margin."""
        return abs(self.clean - self.published) <= self.margin


def published_scores(results: _WithCounts) -> tuple[CleanAgainstPublished, ...]:
    """Return the targets with a published mIoU on this data set, and a clean one."""
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
    """Return the sentence on published mIoU; empty if there is none to compare with."""
    scores = published_scores(results)
    if not scores:
        return ""
    reached = sum(score.reached for score in scores)
    each = ", ".join(f"{s.target} {s.clean:.1f} of {s.published:.1f}" for s in scores)
    return f"Clean mIoU as published: {reached} of {len(scores)} targets ({each})"


def _standard_error(counts: np.ndarray) -> float:
    """Return the jackknife's standard error of dataset mIoU over images, in points.

    Args:
        counts: The right, labelled and predicted pixels per image and class, N x 3 x K.
    """
    count = len(counts)
    if count < 2:
        return 0.0
    rest = counts.sum(0, dtype=np.int64) - counts
    left_out = metrics.miou_of(rest[:, 0], rest[:, 1], rest[:, 2])
    spread = np.square(left_out - np.nanmean(left_out))
    return float(np.sqrt((count - 1) / count * np.nansum(spread)))
