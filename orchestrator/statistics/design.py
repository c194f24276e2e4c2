"""The clusters of dependent images, and their bootstrap resamples.

Images depend on each other by their scene (frames of a video, or an image under several seeds) and
by their random draws (a schedule group shares its scales). If a clustering is nested
in the other, the coarser clusters are resampled. If they cross, the variance is V(scene) + V(draw)
- V(both) (Cameron, Gelbach and Miller, "Robust inference with multiway clustering", 2011).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segtransfer.results import Results
from segtransfer.tasks.randomness import schedule_group

Pair = tuple[str, str]  # source, target
NO_VERDICT = "one schedule group: no verdict"
LEAST_SEQUENCES = 5  # fewer sequences give no estimate of the variance between sequences
# The variance of a cluster's sum grows with this power of the cluster's images: 1 if images vary
# independently, 2 if only clusters vary. Intervals of both cover 93 to 97 % with this power
# (infra/studies/coverage.py).
SIZE_POWER = 1.1


@dataclass(frozen=True)
class Factor:
    """A clustering of N images into G clusters, with R resamples of the clusters.

    Attributes:
        members: float64 G x N, 1 if the image belongs to the cluster, else 0.
        draws: float64 (R + 1) x G, how often a resample has each cluster. Row 0 has each cluster
            once: the images themselves.
        sign: 1 or -1, the sign of this factor's variance in the sum over factors.
    """

    members: np.ndarray
    draws: np.ndarray
    sign: int

    @property
    def clusters(self) -> int:
        """Return the number G of clusters."""
        return len(self.members)

    @property
    def captured(self) -> float:
        """Return the mean share of a mean's variance that a bootstrap of the clusters shows.

        Returns:
            A fraction in [0, 1): (G - 1) / G for clusters of equal sizes, less for other clusters.
        """
        return self._moments[0]

    @property
    def freedom(self) -> float:
        """Return the degrees of freedom of the bootstrap variance, by Satterthwaite.

        Returns:
            G - 1 for clusters of equal sizes, less for other clusters; 0 for a single cluster.
        """
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[float, float]:
        return bootstrap_moments(self.members.sum(axis=1))

    def sums(self, counts: np.ndarray) -> np.ndarray:
        """Sum per-image counts over the clusters of each resample.

        Args:
            counts: N x anything; a column with NaN gives NaN.

        Returns:
            float64 (R + 1) x anything; row 0 is the sum over all images.
        """
        return self.draws @ (self.members @ counts)


@dataclass(frozen=True)
class Design:
    """The factors of the resampling.

    Attributes:
        factors: The clusterings of the images: one, or three if scenes and draws cross.
        notes: Sentences on variation that intervals do not cover.
        one_schedule: Whether all images share their draws of scales. Other draws could then explain
            any difference, so differences have no p-value and no verdict.
    """

    factors: tuple[Factor, ...]
    notes: tuple[str, ...] = ()
    one_schedule: bool = False


def design_of(runs: Sequence[Results], *, resamples: int, seed: int = 0) -> Design:
    """Return the bootstrap design of an experiment, or of several that differ in their seed.

    Scenes are videos if there are at least ``LEAST_SEQUENCES``, else images. Draws are pairs of
    seed and schedule group.

    Args:
        runs: The results of the experiments, on the same images. Images of all runs are pooled, run
            by run.
        resamples: The number of resamples.
        seed: The seed of the resamples.

    Returns:
        The design over N images times the number of runs. Equal arguments give equal draws.
    """
    return design_over(
        [name for run in runs for name in run.image_ids],
        [name for run in runs for name in run.sequences],
        [schedule for run in runs for schedule in schedules_of(run)],
        resamples=resamples,
        seed=seed,
    )


def design_over(
    images: Sequence[str],
    sequences: Sequence[str],
    groups: Sequence[tuple[int, int]],
    *,
    resamples: int,
    seed: int = 0,
) -> Design:
    """Return the bootstrap design of N images, as ``design_of`` does for results.

    Args:
        images: The id of each image.
        sequences: The video of each image.
        groups: The seed and the schedule group of each image.
        resamples: The number of resamples.
        seed: The seed of the resamples.

    Returns:
        The design over the N images.
    """
    several = len(set(sequences)) >= LEAST_SEQUENCES
    notes = []
    if not several:
        notes.append(_few_scenes(len(set(sequences)), len(set(images))))
    one_schedule = len(set(groups)) == 1
    if one_schedule:
        notes.append(
            "All images share one schedule, so intervals do not cover other draws of scales."
        )
    factors = cluster(sequences if several else images, groups, resamples=resamples, seed=seed)
    return Design(factors, tuple(notes), one_schedule)


def schedules_of(run: Results) -> list[tuple[int, int]]:
    """Return the seed and the schedule group of every image.

    A group is a hash of the image's id, so a few images may not fill all groups.

    Args:
        run: The results.

    Returns:
        N pairs; groups count from 0 to ``schedule_groups`` - 1.
    """
    seed, groups = run.manifest.settings.seed, run.manifest.settings.schedule_groups
    return [(seed, schedule_group(image_id, groups)) for image_id in run.image_ids]


def cluster(
    scenes: Sequence[object], draws: Sequence[object], *, resamples: int, seed: int = 0
) -> tuple[Factor, ...]:
    """Return the factors of N images: one, or three if scenes and draws cross.

    A single cluster has no variance, so scenes are resampled if all images share their draws, and
    draws if all images share their scene.

    Args:
        scenes: The scene of each image, N hashable values.
        draws: The random draws of each image, N hashable values, such as its schedule group.
        resamples: The number of resamples.
        seed: The seed of the resamples.

    Returns:
        The factors; of three, the last (scene and draw together) has sign -1.

    Raises:
        ValueError: If ``scenes`` and ``draws`` differ in length.
    """
    both = list(zip(scenes, draws, strict=True))
    count, count_scenes, count_draws = (len(set(labels)) for labels in (both, scenes, draws))
    if count_draws == 1 or (count == count_draws and count_scenes > 1):
        return (factor_of(scenes, resamples, seed),)
    if count_scenes == 1 or count == count_scenes:
        return (factor_of(draws, resamples, seed),)
    signed = ((scenes, 1), (draws, 1), (both, -1))
    return tuple(factor_of(labels, resamples, seed, sign) for labels, sign in signed)


def factor_of(labels: Sequence[object], resamples: int, seed: int = 0, sign: int = 1) -> Factor:
    """Return the factor whose clusters are the images of equal labels.

    Args:
        labels: A hashable label per image.
        resamples: The number of resamples.
        seed: The seed of the draws.
        sign: The sign of the factor's variance.

    Returns:
        The factor. Each resample draws as many clusters as there are, with replacement and equal
        probability.
    """
    names = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    members = np.zeros((len(names), len(labels)))
    members[[names[label] for label in labels], range(len(labels))] = 1
    even = np.full(len(names), 1 / len(names))
    drawn = np.random.default_rng(seed).multinomial(len(names), even, size=resamples)
    return Factor(members, np.vstack([np.ones(len(names)), drawn]), sign)


def bootstrap_moments(sizes: Sequence[int] | np.ndarray) -> tuple[float, float]:
    """Return the share of a variance that a bootstrap of clusters shows, and its freedom.

    With the clusters' sums s, their shares p of the images and Cov(s) = diag(v), the bootstrap
    variance of the mean is |s - p sum(s)|^2 = s' A s with A = I - p 1' - 1 p' + p'p 1 1'. Its
    expectation is tr(A diag(v)), and its variance for normal s is 2 tr(A diag(v) A diag(v)).

    Source: Satterthwaite, "An approximate distribution of estimates of variance components", 1946.

    Args:
        sizes: The images of each of G clusters, at least 1 each.

    Returns:
        The share, a fraction in [0, 1), and the degrees of freedom: (G - 1) / G and G - 1 for equal
        sizes, less for other sizes; 0 and 0 for a single cluster.
    """
    count = len(sizes)
    if count < 2:
        return 0.0, 0.0
    if min(sizes) == max(sizes):
        return (count - 1) / count, float(count - 1)
    share = np.asarray(sizes, float) / sum(sizes)
    variance = share**SIZE_POWER / (share**SIZE_POWER).sum()
    both, mean = share @ share, share @ variance
    captured = float(1 + both - 2 * mean)
    # tr(A diag(v) A diag(v)), first with A - I for A, then the rest of its diagonal.
    squares = 2 * (share**2 @ variance - mean**2) + (both - 2 * mean) ** 2
    squares += variance**2 @ (1 + 2 * both - 4 * share)
    return captured, captured**2 / float(squares)


def pairs_of(results: Results, group: str) -> list[Pair]:
    """Return the pairs of source and target of a pair group.

    Args:
        results: The results.
        group: ``diagonal``, ``same_network``, ``same_backbone`` or ``cross_backbone``.

    Returns:
        The pairs, sources in the order of rows; empty for a group without pairs.
    """
    return [
        (source, target)
        for source in results.sources
        for target in results.targets
        if results.group(source, target) == group
    ]


def _few_scenes(videos: int, images: int) -> str:
    """Return the note on fewer than ``LEAST_SEQUENCES`` videos.

    If no videos are known, each image is its own video.
    """
    if videos == images:
        return (
            f"Intervals are computed from {_counted(images, 'image')}, too few for a reliable "
            "estimate of the variance between images."
        )
    return (
        f"Images come from {_counted(videos, 'video')}, so intervals cover more images of the same "
        "scenes, not other scenes."
    )


def _counted(count: int, noun: str) -> str:
    return f"one {noun}" if count == 1 else f"{count} {noun}s"
