"""Measures of parts of the images on bootstrap resamples, and their tables."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from segtransfer.breakdowns.groups import AttackedGroup
from segtransfer.breakdowns.tables import PartRow, PartTable
from segtransfer.experiment.task import CLEAN, MatrixIndex
from segtransfer.statistics import Interval, Resampled
from segtransfer.statistics.intervals import interval_of
from segtransfer.statistics.resampled import Values

FEWEST_IMAGES = 5  # with pixels of a part, for an interval; the number is ours


@dataclass(frozen=True)
class MeasuredParts:
    """P parts of N images, and a measure of each part from per-image counts.

    Attributes:
        names: The names of the parts.
        labelled: The labelled pixels of each image and part, int64 N x P.
        counts: Returns the counts of a matrix cell, N x B.
        measure: Returns the measure in percent, ... x P, from counts ... x B summed over images;
            NaN for a part without counted pixels.
    """

    names: tuple[str, ...]
    labelled: np.ndarray
    counts: Callable[[MatrixIndex], np.ndarray]
    measure: Callable[[np.ndarray], np.ndarray]


class PartScores:
    """The measure of P parts in each matrix cell, on every resample of the images."""

    def __init__(self, sample: Resampled, parts: MeasuredParts) -> None:
        """Keep the parts; a cell is computed when it is asked for.

        Args:
            sample: The resampled results.
            parts: The parts of the images of ``sample.results``.
        """
        self.sample, self.parts = sample, parts
        self._clean: dict[str, Values] = {}  # by target; cells of attacks are asked for once

    def of(self, attack: str, source: str | None, target: str) -> Values:
        """Return the measure of a cell on every resample.

        Returns:
            Per factor of the design (R + 1) x P in percent; row 0 is the measure itself.
        """
        if attack == CLEAN and target in self._clean:
            return self._clean[target]
        counts = self.parts.counts((attack, source, target))
        factors = self.sample.design.factors
        values = [self.parts.measure(factor.sums(counts)) for factor in factors]
        if attack == CLEAN:
            self._clean[target] = values
        return values

    def table(self, group: AttackedGroup) -> PartTable:
        """Return the table of an attack on a pair group.

        MeasuredParts without labelled pixels that no cell predicts either are left out.

        Args:
            group: The cells of the attack in the pair group.
        """
        attacked = [self.of(*cell) for cell in group.cells]
        clean = [self.of(CLEAN, None, target) for *_, target in group.cells]
        drops = [
            [a - b for a, b in zip(ours, theirs, strict=True)]
            for ours, theirs in zip(clean, attacked, strict=True)
        ]
        means = [_mean_of_known(values) for values in (clean, attacked, drops)]
        rows = []
        for place, name in enumerate(self.parts.names):
            pixels = self.parts.labelled[:, place]
            before, after, drop = (self._interval(values, place) for values in means)
            if pixels.any() or not (np.isnan(before.value) and np.isnan(after.value)):
                images = int((pixels > 0).sum())
                rows.append(PartRow(name, int(pixels.sum()), images, before, after, drop))
        return PartTable(group.attack, group.group, group.words, len(group.cells), tuple(rows))

    def _interval(self, values: Values, place: int) -> Interval:
        """Return the value of a part, with an interval if enough images have the part."""
        column = [part[:, place] for part in values]
        occupied = self.parts.labelled[:, place] > 0
        design = self.sample.design
        clusters = [(f.members @ occupied > 0).sum() for f in design.factors if f.sign > 0]
        if occupied.sum() < FEWEST_IMAGES or min(clusters) < 2:
            return Interval(float(column[0][0]), np.nan, np.nan, np.nan)
        return interval_of(design, column)


def part_tables(
    sample: Resampled, parts: MeasuredParts, groups: Iterable[AttackedGroup]
) -> tuple[tuple[PartTable, ...], tuple[str, ...]]:
    """Return a table per attack and pair group, and notes on their intervals.

    Args:
        sample: The resampled results.
        parts: The parts of the images of ``sample.results``.
        groups: The attacks and pair groups.
    """
    scores = PartScores(sample, parts)
    tables = tuple(scores.table(group) for group in groups)
    rows = [row for table in tables for row in table.rows]
    notes = ["± half of the 95 % interval."]
    if any(row.images < FEWEST_IMAGES for row in rows):
        notes.append(f"A part in fewer than {FEWEST_IMAGES} images has no interval.")
    return tables, (*notes, *sample.notes)


def _mean_of_known(cells: Sequence[Values]) -> Values:
    """Return the mean over cells on every resample, without NaN; NaN if all cells are NaN."""
    means = []
    for parts in zip(*cells, strict=True):
        known = sum(~np.isnan(part) for part in parts)
        whole = sum(np.nan_to_num(part) for part in parts)
        means.append(np.where(known > 0, whole / np.maximum(known, 1), np.nan))
    return means
