"""Which images are not independent of each other, and how clusters of them are drawn anew.

Two things make images alike: what is on them (frames of one video sequence, one image under
several seeds) and what was drawn for them (a schedule group shares its scales). Where one of the
two clusters lies within the other, the coarser one is drawn. Where they cross, variances are put
together as V(scene) + V(draw) - V(both) (Cameron, Gelbach and Miller, "Robust inference with
multiway clustering", 2011).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segtransfer.results import Results
from segtransfer.tasks.randomness import schedule_group

Pair = tuple[str, str]  # source, target
LEAST_SEQUENCES = 5  # fewer say nothing about other sequences


@dataclass(frozen=True)
class Factor:
    """One way to cluster the images.

    ``members`` clusters x images, 1 where an image belongs to a cluster; ``draws`` resamples x
    clusters, how often each cluster counts, row 0 each once; ``sign`` of its variance in the sum.
    """

    members: np.ndarray
    draws: np.ndarray
    sign: int

    @property
    def clusters(self) -> int:
        return len(self.members)

    def sums(self, counts: np.ndarray) -> np.ndarray:
        """Counts of each image (images x anything) summed over resamples of the clusters."""
        return self.draws @ (self.members @ counts)


@dataclass(frozen=True)
class Design:
    """How images are drawn anew, and in sentences what that does not cover."""

    factors: tuple[Factor, ...]
    notes: tuple[str, ...] = ()


def design_of(runs: Sequence[Results], *, resamples: int, seed: int = 0) -> Design:
    """The design of one experiment, or of several on the same images under other seeds."""
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
    if len(set(groups)) == 1:
        notes.append("All images share one schedule: intervals do not cover other draws of scales.")
    factors = cluster(sequences if several else images, groups, resamples=resamples, seed=seed)
    return Design(factors, tuple(notes))


def schedules_of(run: Results) -> list[tuple[int, int]]:
    """The schedule of every image, as seed and group. Groups are hashes of the images' ids, so few
    images may fall into fewer groups than there are."""
    seed, groups = run.content["spec"]["seed"], run.content["spec"]["schedule_groups"]
    return [(seed, schedule_group(image_id, groups)) for image_id in run.image_ids]


def cluster(
    scenes: Sequence[object], draws: Sequence[object], *, resamples: int, seed: int = 0
) -> tuple[Factor, ...]:
    """The factors for images of these scenes under these draws: one, or three where they cross.

    A single cluster cannot vary: scenes stand for draws where all images share one, and draws for
    scenes.
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
    """The factor whose clusters are the images of equal labels."""
    names = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    members = np.zeros((len(names), len(labels)))
    members[[names[label] for label in labels], range(len(labels))] = 1
    even = np.full(len(names), 1 / len(names))
    drawn = np.random.default_rng(seed).multinomial(len(names), even, size=resamples)
    return Factor(members, np.vstack([np.ones(len(names)), drawn]), sign)


def pairs_of(results: Results, group: str) -> list[Pair]:
    """The pairs of source and target that a headline group has."""
    return [
        (source, target)
        for source in results.sources
        for target in results.targets
        if results.group(source, target) == group
    ]


def _counted(count: int, noun: str) -> str:
    return f"one {noun}" if count == 1 else f"{count} {noun}s"
