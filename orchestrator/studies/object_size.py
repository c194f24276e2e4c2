"""Object size (A3, A4, A5): on things of which size does an attack transfer?

An object is a connected component of one class in the labels. Objects are sorted by area into
quarters of their own class, so that size is not class in disguise. The recall of a quarter is the
mean over classes of the share of its pixels that are right. If transfer is a matter of scale (A4),
what dynamic scaling gains over PGD should depend on the size of things.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from segtransfer.errors import InputError
from segtransfer.experiment.spec import Experiment
from segtransfer.experiment.task import CLEAN, MatrixIndex
from segtransfer.results import PAIR_GROUPS
from segtransfer.results.reader import ExperimentReader
from segtransfer.results.text import TARGETS_OF
from segtransfer.statistics import Interval, Pair, Resampled, pairs_of
from segtransfer.statistics.resampled import Values
from segtransfer.studies.base import (
    SCORES,
    BaseExperiment,
    at_equal_cost,
    check_transfer,
    experiment_of,
)
from segtransfer.studies.contrasts import combine, mean, total
from segtransfer.studies.study import (
    COMPARED_ATTACKS,
    Facts,
    IntervalByScore,
    Standing,
    Study,
    Verdict,
    direction,
    facts_of,
    levels,
    negligible,
    over_pgd,
    signed,
    standing,
    transfer_groups,
)
from segtransfer.tasks.labels import IGNORE_INDEX

QUARTERS = ("smallest", "small", "large", "largest")


@dataclass(frozen=True)
class Bar:
    """Drop in recall of each quarter under an attack, in points, mean over a group's pairs."""

    attack: str
    score: str
    group: str
    drops: tuple[Interval, ...]


@dataclass(frozen=True)
class Sizes:
    """Recall by quarter of object size, and drops in recall, in points.

    ``clean``: recall on clean images, mean over targets. ``areas``: median area of objects in
    pixels. Per score, on ``group``: ``gains`` of dynamic scaling over PGD per quarter; ``uneven``,
    the gain on the smallest quarter minus that on the largest; ``gap``, the drop under PGD on the
    source itself minus that on the group.
    """

    facts: Facts
    group: str
    objects: int
    areas: tuple[float, ...]
    clean: tuple[Interval, ...]
    bars: tuple[Bar, ...]
    gains: dict[str, tuple[Interval, ...]]
    uneven: IntervalByScore
    gap: dict[str, tuple[Interval, ...]]


def experiment(base: BaseExperiment) -> Experiment:
    """Add PGD and dynamic scaling to a base, at equal cost."""
    check_transfer(base)
    return experiment_of(
        base, STUDY.name, [at_equal_cost(base, preset) for preset in COMPARED_ATTACKS]
    )


def objects(label: np.ndarray, num_classes: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Find the objects of a label image.

    Args:
        label: uint8 H x W.
        num_classes: Number of classes.

    Returns:
        The object of each pixel, int64 H x W, counted from 0 in every class; and the areas of the
        objects in pixels, an array per class.
    """
    which = np.zeros(label.shape, np.int64)
    areas = []
    for index in range(num_classes):
        mask = label == index
        parts, count = ndimage.label(mask)
        which[mask] = parts[mask] - 1
        areas.append(np.bincount(parts[mask] - 1, minlength=count))
    return which, areas


def quarter_edges(
    labels: Iterable[np.ndarray], num_classes: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Cut the objects of each class into quarters by area.

    Args:
        labels: uint8 H x W each, read once.
        num_classes: Number of classes.

    Returns:
        The three areas between the quarters, an array per class, empty without objects; and the
        areas of all objects in pixels, an array per quarter.
    """
    by_class: list[list[np.ndarray]] = [[] for _ in range(num_classes)]
    for label in labels:
        for found, areas in zip(by_class, objects(label, num_classes)[1], strict=True):
            found.append(areas)
    edges: list[np.ndarray] = []
    by_quarter: list[list[np.ndarray]] = [[] for _ in QUARTERS]
    for found in by_class:
        every = np.concatenate(found)
        edges.append(np.quantile(every, [0.25, 0.5, 0.75]) if every.size else np.zeros(0))
        own = np.searchsorted(edges[-1], every)
        for quarter, parts in enumerate(by_quarter):
            parts.append(every[own == quarter])
    return edges, [np.concatenate(parts) for parts in by_quarter]


def quarters(labels: np.ndarray, edges: Sequence[np.ndarray]) -> np.ndarray:
    """Return the quarter of each pixel's object.

    Args:
        labels: uint8 N x H x W.
        edges: The areas between the quarters of each class, as in ``quarter_edges``.

    Returns:
        uint8 N x H x W; 255 without a label.
    """
    sizes = np.full(labels.shape, IGNORE_INDEX, np.uint8)
    for size, label in zip(sizes, labels, strict=True):
        which, areas = objects(label, len(edges))
        for index, (edge, of_class) in enumerate(zip(edges, areas, strict=True)):
            mask = label == index
            size[mask] = np.searchsorted(edge, of_class).astype(np.uint8)[which[mask]]
    return sizes


def count(mask: np.ndarray, labels: np.ndarray, sizes: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the pixels of a mask N x H x W by image, class and quarter: float64 N x (K * 4)."""
    bins = num_classes * len(QUARTERS)
    counted = mask & (labels != IGNORE_INDEX)
    image = np.broadcast_to(np.arange(len(labels))[:, None, None], labels.shape)[counted]
    place = labels[counted].astype(np.int64) * len(QUARTERS) + sizes[counted]
    counts = np.bincount(image * bins + place, minlength=len(labels) * bins)
    return counts.reshape(len(labels), bins).astype(np.float64)


def recall(right: np.ndarray, every: np.ndarray) -> np.ndarray:
    """Return the recall of each quarter in percent, ... x 4, from counts ... x (K * 4).

    Recall is the mean over the classes that have objects of that quarter, NaN without any.
    """
    shape = (*every.shape[:-1], -1, len(QUARTERS))
    right, every = right.reshape(shape), every.reshape(shape)
    there = every > 0
    shares = np.where(there, right / np.maximum(every, 1), 0)
    classes = there.sum(-2)
    return np.where(classes > 0, 100 * shares.sum(-2) / np.maximum(classes, 1), np.nan)


class Recalls:
    """Recall by quarter of every cell, on every resample; each cell is read once."""

    def __init__(self, sample: Resampled) -> None:
        self._sample = sample
        results = sample.results
        reader = results.reader()
        classes = len(results.classes)
        edges, self.areas = quarter_edges(_labels(reader), classes)
        every: list[np.ndarray] = []  # per shard, N x (K * 4)
        right: dict[MatrixIndex, list[np.ndarray]] = defaultdict(list)
        for shard_id, shard in reader.shards():
            if shard is None:
                continue  # only if it was lost since its labels were read
            sizes = quarters(shard.labels, edges)
            every.append(count(np.ones(sizes.shape, bool), shard.labels, sizes, classes))
            for scored in reader.scored(shard_id, shard):
                mask = scored.evaluation.predictions == shard.labels
                right[scored.cell.index].append(count(mask, shard.labels, sizes, classes))
        self._every = self._sums(every)
        self._right = right
        self._known: dict[MatrixIndex, Values] = {}

    def of(self, attack: str, source: str | None, target: str) -> Values:
        """Return the recall of a cell, resamples x 4, an array per factor."""
        index = attack, source, target
        if index not in self._known:
            right = self._sums(self._right[index])
            self._known[index] = [recall(r, e) for r, e in zip(right, self._every, strict=True)]
        return self._known[index]

    def drop(self, attack: str, pairs: Sequence[Pair]) -> Values:
        """Return the drop in recall per quarter under an attack, in points, mean over pairs."""
        parts = [
            total([(1, self.of(CLEAN, None, target)), (-1, self.of(attack, source, target))])
            for source, target in pairs
        ]
        return mean(parts)

    def _sums(self, counts: Sequence[np.ndarray]) -> Values:
        whole = np.concatenate(counts)
        return [factor.sums(whole) for factor in self._sample.design.factors]


def _labels(reader: ExperimentReader) -> Iterator[np.ndarray]:
    """Yield the labels of each image, uint8 H x W.

    Raises:
        InputError: A shard is missing.
    """
    for _, shard in reader.shards():
        if shard is None:
            raise InputError(
                f"store {reader.store.location} lacks a shard of images and labels; run the study "
                "again"
            )
        yield from shard.labels


def findings(sample: Resampled, base: BaseExperiment) -> Sizes:
    """Compute recall, drops, gains and the gap by quarter."""
    results, recalls = sample.results, Recalls(sample)
    groups = transfer_groups(results)
    by_group = {group: pairs for group in PAIR_GROUPS if (pairs := pairs_of(results, group))}
    bars = tuple(
        Bar(attack, score, group, _each(sample, recalls.drop(attack + mark, pairs)))
        for attack in COMPARED_ATTACKS
        for score, mark in SCORES.items()
        for group, pairs in by_group.items()
    )
    pairs, own = by_group[groups[0]], by_group.get("diagonal", [])
    gains = {
        score: total(
            [(1, recalls.drop("ds" + mark, pairs)), (-1, recalls.drop("pgd" + mark, pairs))]
        )
        for score, mark in SCORES.items()
    }
    gap = {
        score: total(
            [(1, recalls.drop("pgd" + mark, own)), (-1, recalls.drop("pgd" + mark, pairs))]
        )
        for score, mark in SCORES.items()
        if own
    }
    targets = [recalls.of(CLEAN, None, target) for target in results.targets]
    return Sizes(
        facts=facts_of(sample, f"{levels(base.eps)}, {base.cost:g} forward equivalents an attack"),
        group=groups[0],
        objects=sum(len(areas) for areas in recalls.areas),
        areas=tuple(float(np.median(a)) if a.size else float("nan") for a in recalls.areas),
        clean=_each(sample, mean(targets)),
        bars=bars,
        gains={score: _each(sample, values) for score, values in gains.items()},
        uneven={
            score: combine(sample.design, [(1, _column(values, 0)), (-1, _column(values, -1))])
            for score, values in gains.items()
        },
        gap={score: _each(sample, values) for score, values in gap.items()},
    )


def _column(values: Values, quarter: int) -> Values:
    return [part[:, quarter] for part in values]


def _each(sample: Resampled, values: Values) -> tuple[Interval, ...]:
    """Return the interval of every quarter."""
    return tuple(
        combine(sample.design, [(1, _column(values, quarter))]) for quarter in range(len(QUARTERS))
    )


def sentences(numbers: Sizes) -> list[str]:
    """Return the findings as sentences."""
    lines = []
    for attack, words in COMPARED_ATTACKS.items():
        (bar,) = (
            bar
            for bar in numbers.bars
            if (bar.attack, bar.score, bar.group) == (attack, "raw", numbers.group)
        )
        lines.append(
            f"On {TARGETS_OF[numbers.group]} {words} takes {_list(bar.drops)} points of recall "
            "from the smallest to the largest quarter of objects."
        )
    raw = ", ".join(signed(interval) for interval in numbers.gains["raw"])
    lines.append(
        f"Dynamic scaling gains {raw} over PGD (raw), and {signed(numbers.uneven)} more on the "
        "smallest than on the largest."
    )
    return lines


def verdicts(numbers: Sizes) -> list[Verdict]:
    """Return the verdicts on A3, A4 and A5."""
    gap = [interval for quarter in numbers.gap.values() for interval in quarter]
    if gap:
        raw = _list(numbers.gap["raw"])
        reason = f"PGD takes {raw} points of recall more from the source itself, by size"
        limited = Verdict("A3", standing(direction(gap)), reason)
    else:
        limited = Verdict("A3", "not tested", "no source is a target")
    gains = [interval for quarter in numbers.gains.values() for interval in quarter]
    sizes = {1: "objects of every size", -1: "no object of any size", 0: "not surely all sizes"}
    sign = direction(gains)
    return [
        limited,
        over_pgd(
            "A4",
            _depends(list(numbers.uneven.values())),
            "read as: what dynamic scaling gains depends on the size of things; the gain on the "
            f"smallest less that on the largest is {signed(numbers.uneven)} points",
        ),
        over_pgd("A5", standing(sign), f"dynamic scaling takes more from {sizes[sign]}"),
    ]


def _depends(uneven: Sequence[Interval]) -> Standing:
    """Return the standing of A4, which an uneven gain of either sign supports."""
    if negligible(uneven):
        return "contradicts"
    return standing(abs(direction(uneven)))


def _list(intervals: Sequence[Interval]) -> str:
    return ", ".join(f"{interval.value:.1f}" for interval in intervals)


STUDY: Study[Sizes] = Study(
    name="object-size",
    question="On things of which size does an attack transfer?",
    experiment=experiment,
    findings=findings,
    sentences=sentences,
    verdicts=verdicts,
)
