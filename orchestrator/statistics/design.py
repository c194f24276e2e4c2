"""The clusters of dependent images, and their resamples.

Images depend on each other by their scene (frames of one video sequence, one image under several
seeds) and by their random draws (a schedule group shares its scales). If one of the two clusterings
is nested in the other, the coarser clusters are resampled. If they cross, the variance is
V(scene) + V(draw) - V(both) (Cameron, Gelbach and Miller, "Robust inference with multiway
clustering", 2011).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segtransfer.results import Results
from segtransfer.tasks.randomness import schedule_group

Pair = tuple[str, str]  # source, target
NO_VERDICT = "one schedule group: no verdict"
LEAST_SEQUENCES = 5  # fewer sequences give no estimate of the variance between sequences


@dataclass(frozen=True)
class Factor:
    """A clustering of the images.

    Attributes:
        members: clusters x images, 1 if the image belongs to the cluster, else 0.
        draws: resamples x clusters, the count of each cluster. Row 0 counts each cluster once.
        sign: The sign of this factor's variance in the sum over factors.
    """

    members: np.ndarray
    draws: np.ndarray
    sign: int

    @property
    def clusters(self) -> int:
        """The number of clusters."""
        return len(self.members)

    def sums(self, counts: np.ndarray) -> np.ndarray:
        """Return per-image counts (images x anything) summed per resample of the clusters."""
        return self.draws @ (self.members @ counts)


@dataclass(frozen=True)
class Design:
    """The factors of the resampling.

    Attributes:
        factors: The clusterings of the images.
        notes: Sentences on variation that intervals do not cover.
        one_schedule: Whether all images share their draws of scales. Other draws could then
            explain any difference, so differences have no p-value and no verdict.
    """

    factors: tuple[Factor, ...]
    notes: tuple[str, ...] = ()
    one_schedule: bool = False


def design_of(runs: Sequence[Results], *, resamples: int, seed: int = 0) -> Design:
    """Return the design of one experiment, or of several on the same images under other seeds.

    Args:
        runs: The results of the experiments.
        resamples: The number of resamples.
        seed: The seed of the resamples.
    """
    images = [name for run in runs for name in run.image_ids]
    sequences = [name for run in runs for name in run.sequences]
    groups = [schedule for run in runs for schedule in schedules_of(run)]
    several = len(set(sequences)) >= LEAST_SEQUENCES
    notes = []
    if not several:
        notes.append(
            f"Images come from {_counted(len(set(sequences)), 'sequence')}: intervals hold for "
            "more images like these, not for other places."
        )
    one_schedule = len(set(groups)) == 1
    if one_schedule:
        notes.append("All images share one schedule: intervals do not cover other draws of scales.")
    factors = cluster(sequences if several else images, groups, resamples=resamples, seed=seed)
    return Design(factors, tuple(notes), one_schedule)


def schedules_of(run: Results) -> list[tuple[int, int]]:
    """Return the seed and the schedule group of every image.

    A group is a hash of the image's id, so a few images may not fill all groups.
    """
    seed, groups = run.manifest.settings.seed, run.manifest.settings.schedule_groups
    return [(seed, schedule_group(image_id, groups)) for image_id in run.image_ids]


def cluster(
    scenes: Sequence[object], draws: Sequence[object], *, resamples: int, seed: int = 0
) -> tuple[Factor, ...]:
    """Return the factors of images: one, or three if scenes and draws cross.

    A single cluster has no variance, so scenes are resampled if all images share their draws, and
    draws if all images share their scene.

    Args:
        scenes: The scene of each image.
        draws: The random draws of each image, such as its schedule group.
        resamples: The number of resamples.
        seed: The seed of the resamples.
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
    """Return the factor whose clusters are the images of equal labels."""
    names = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    members = np.zeros((len(names), len(labels)))
    members[[names[label] for label in labels], range(len(labels))] = 1
    even = np.full(len(names), 1 / len(names))
    drawn = np.random.default_rng(seed).multinomial(len(names), even, size=resamples)
    return Factor(members, np.vstack([np.ones(len(names)), drawn]), sign)


def pairs_of(results: Results, group: str) -> list[Pair]:
    """Return the pairs of source and target of a pair group."""
    return [
        (source, target)
        for source in results.sources
        for target in results.targets
        if results.group(source, target) == group
    ]


def _counted(count: int, noun: str) -> str:
    return f"one {noun}" if count == 1 else f"{count} {noun}s"
