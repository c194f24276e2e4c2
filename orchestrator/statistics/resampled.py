"""Intervals for cells, rows, columns, means and differences, by cluster bootstrap over images."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from segtransfer.experiment.task import CLEAN
from segtransfer.results import DERIVED, PAIR_GROUPS, Results
from segtransfer.statistics.design import Design, Pair, design_of
from segtransfer.statistics.intervals import Interval, interval_of
from segtransfer.statistics.tallies import score, tallies

RESAMPLES = 2000
Values = list[np.ndarray]  # of a statistic per resample, an array per factor of the design


class Resampled:
    """The R bootstrap resamples of an experiment's images, with the metrics of every cell.

    All cells use the same resamples, so differences are paired. Metrics are those of
    ``Results.matrix``. Methods raise KeyError for an unknown attack or a cell without a result, and
    InputError for an unknown metric.

        sample = Resampled(results)
        sample.cell("ds-mi", "fcn-r18", "pspnet-r18")       # Interval of mIoU in percent

    Attributes:
        runs: The results of the experiments.
        results: The results of the first experiment.
        design: The clusters of the images and their draws.
    """

    def __init__(
        self,
        *runs: Results,
        resamples: int = RESAMPLES,
        seed: int = 0,
        design: Design | None = None,
    ) -> None:
        """Draw the resamples.

        Args:
            runs: The results of the experiment, or of several runs that differ only in their seed
                and are pooled.
            resamples: The number R of resamples.
            seed: The seed of the resamples; equal seeds give equal intervals.
            design: The design of another experiment, to share its resamples. Default: a design of
                ``runs``.
        """
        self.runs = runs
        self.results = runs[0]
        self.design = design or design_of(runs, resamples=resamples, seed=seed)
        self._known: dict[tuple[str, str | None, str, str], Values] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Return a sentence per kind of variation outside the intervals."""
        return self.design.notes

    def cell(
        self, attack: str, source: str, target: str, metric: str | None = None, level: float = 0.95
    ) -> Interval:
        """Return the interval of a metric in a cell of a transfer matrix.

        Args:
            attack: The name of an attack's variant.
            source: The source; ignored for an attack without a model.
            target: The target.
            metric: A metric of ``Results.matrix``. Default: the headline metric.
            level: The coverage of the interval, a fraction.

        Returns:
            The metric in percent (``drop``: percentage points) with its bounds.

        Raises:
            KeyError: If the cell has no result.
        """
        return self.mean(attack, [(source, target)], metric, level)

    def clean(self, target: str, metric: str | None = None, level: float = 0.95) -> Interval:
        """Return the interval of a metric of a target on the clean images.

        Args:
            target: The target.
            metric: ``miou``, ``aacc``, ``macc`` or ``wrong``. Default: the headline metric.
            level: The coverage of the interval, a fraction.

        Returns:
            The metric in percent with its bounds.

        Raises:
            KeyError: If the target has no clean result.
        """
        return interval_of(
            self.design, self._counted(CLEAN, None, target, metric or self.results.headline), level
        )

    def mean(
        self, attack: str, pairs: Sequence[Pair], metric: str | None = None, level: float = 0.95
    ) -> Interval:
        """Return the interval of the mean of a metric over pairs of source and target.

        Args:
            attack: The name of an attack's variant.
            pairs: Pairs of source and target, at least one.
            metric: A metric of ``Results.matrix``. Default: the headline metric.
            level: The coverage of the interval, a fraction.

        Returns:
            The mean in percent (``drop``: percentage points) with its bounds.

        Raises:
            ValueError: If there are no pairs.
            KeyError: If a cell has no result.
        """
        return interval_of(self.design, self.values(attack, pairs, metric), level)

    def difference(
        self,
        attack: str,
        baseline: str,
        pairs: Sequence[Pair],
        metric: str | None = None,
        level: float = 0.95,
        other: "Resampled | None" = None,
    ) -> Interval:
        """Return the interval of the mean under an attack minus the mean under a baseline.

        Args:
            attack: The name of an attack's variant.
            baseline: The name of the variant to subtract.
            pairs: The pairs of source and target of the mean, at least one.
            metric: A metric of ``Results.matrix``. Default: the headline metric.
            level: The coverage of the interval, a fraction.
            other: The run with the baseline, if it is another run. It must have the same images in
                the same order, and this run's ``design``.

        Returns:
            The difference in percentage points with its bounds and p-value.

        Raises:
            ValueError: If there are no pairs.
            KeyError: If a cell has no result.
        """
        ours = self.values(attack, pairs, metric)
        theirs = (other or self).values(baseline, pairs, metric)
        return interval_of(self.design, _minus(ours, theirs), level)

    def values(self, attack: str, pairs: Sequence[Pair], metric: str | None = None) -> Values:
        """Return the mean of a metric over pairs on every resample.

        Args:
            attack: The name of an attack's variant.
            pairs: The pairs of source and target, at least one.
            metric: A metric of ``Results.matrix``. Default: the headline metric.

        Returns:
            Per factor of the design, float64 of R + 1 values in percent; row 0 is the value itself.
            NaN on a resample without counted pixels.

        Raises:
            ValueError: If there are no pairs.
            KeyError: If a cell has no result.
        """
        if not pairs:
            raise ValueError("a mean needs at least one pair of source and target")
        metric = metric or self.results.headline
        cells = [self._values(attack, source, target, metric) for source, target in pairs]
        return [np.mean(parts, axis=0) for parts in zip(*cells, strict=True)]

    def frame(self, attack: str, metric: str | None = None, level: float = 0.95) -> pd.DataFrame:
        """Return the interval of every cell, row, column and mean of a matrix.

        Args:
            attack: The name of an attack's variant.
            metric: A metric of ``Results.matrix``. Default: the headline metric.
            level: The coverage of the intervals, a fraction.

        Returns:
            Columns kind (cell, row, column, mean), group, source, target, value, low, high; numbers
            in the metric's unit. Rows, columns and means cover a single pair group. Entries with a
            cell without a result are left out.
        """
        results = self.results
        pairs = [(s, t) for s in results.sources for t in results.targets]
        wanted = [("cell", results.group(*pair), *pair, [pair]) for pair in pairs]
        for group in PAIR_GROUPS:
            inside = [pair for pair in pairs if results.group(*pair) == group]
            for source in results.sources:
                wanted.append(("row", group, source, "", [p for p in inside if p[0] == source]))
            for target in results.targets:
                wanted.append(("column", group, "", target, [p for p in inside if p[1] == target]))
            wanted.append(("mean", group, "", "", inside))
        rows = []
        for kind, group, source, target, members in wanted:
            if members and all(self._has(attack, *pair) for pair in members):
                mean = self.mean(attack, members, metric, level)
                rows.append((kind, group, source, target, mean.value, mean.low, mean.high))
        names = ["kind", "group", "source", "target", "value", "low", "high"]
        return pd.DataFrame(rows, columns=names)

    def _values(self, attack: str, source: str, target: str, metric: str) -> Values:
        if metric not in DERIVED:
            return self._counted(attack, source, target, metric)
        headline = self.results.headline
        clean = self._counted(CLEAN, None, target, headline)
        drop = _minus(clean, self._counted(attack, source, target, headline))
        if metric == "drop":
            return drop
        strongest = self.results.strongest(attack, target)
        if strongest is None:
            return [np.full(len(values), np.nan) for values in drop]
        most = _minus(clean, self._counted(*strongest, target, headline))
        # NaN, as in a matrix, if the strongest attack has no effect; JSON has no infinity.
        scales = [np.where(values == 0, np.nan, values) for values in most]
        return [100 * ours / scale for ours, scale in zip(drop, scales, strict=True)]

    def _counted(self, attack: str, source: str | None, target: str, metric: str) -> Values:
        sourced = attack != CLEAN and self.results.needs_source(attack)
        cell = attack, source if sourced else None, target
        if (*cell, metric) not in self._known:
            counts = np.concatenate([tallies(run, cell) for run in self.runs])
            sums = [factor.sums(counts) for factor in self.design.factors]
            self._known[*cell, metric] = [score(part, metric) for part in sums]
        return self._known[*cell, metric]

    def _has(self, attack: str, source: str, target: str) -> bool:
        cell = attack, source if self.results.needs_source(attack) else None, target
        return all(cell in run.counts for run in self.runs)


def _minus(ours: Values, theirs: Values) -> Values:
    return [a - b for a, b in zip(ours, theirs, strict=True)]
