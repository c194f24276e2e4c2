"""Intervals and tests from resampled values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from segtransfer.statistics.design import Design


@dataclass(frozen=True)
class Interval:
    """A value with the bounds of its interval, in percentage points.

    Attributes:
        value: The value.
        low: The lower bound.
        high: The upper bound.
        p: The two-sided p-value of the hypothesis that the value is 0, for differences only.
    """

    value: float
    low: float
    high: float
    p: float = 1.0

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def interval_of(design: Design, values: Sequence[np.ndarray], level: float = 0.95) -> Interval:
    """Return the interval of a statistic, value +- t SE.

    The variance of a bootstrap of G clusters is scaled by G / (G - 1). The quantile t has G - 1
    degrees of freedom, or Satterthwaite's if factors cross.

    Args:
        design: The design of the resamples.
        values: Per factor, the statistic on each resample; row 0 is the statistic itself.
        level: The coverage, such as 0.95.

    Returns:
        The interval, with NaN bounds if a factor has a single cluster.
    """
    value = float(values[0][0])
    if any(factor.clusters < 2 for factor in design.factors):
        return Interval(value, np.nan, np.nan, np.nan)
    variances = [
        float(replicates[1:].var()) * factor.clusters / (factor.clusters - 1)
        for factor, replicates in zip(design.factors, values, strict=True)
    ]
    parts = [(v, f) for v, f in zip(variances, design.factors, strict=True) if f.sign > 0]
    total = sum(v * f.sign for v, f in zip(variances, design.factors, strict=True))
    # The estimate for crossed factors may be too small: each factor alone is a lower bound.
    error = max(total, *(v for v, _ in parts)) ** 0.5
    if error == 0:
        return Interval(value, value, value, 1.0 if value == 0 else 0.0)
    freedom = sum(v for v, _ in parts) ** 2 / sum(v**2 / (f.clusters - 1) for v, f in parts)
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    p = 2 * float(stats.t.sf(abs(value) / error, freedom))
    return Interval(value, value - half, value + half, p)


def holm(p_values: Sequence[float], alpha: float = 0.05) -> list[bool]:
    """Return which of many hypotheses are rejected, with a family-wise error rate of ``alpha``.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.

    Args:
        p_values: The p-values; NaN is never rejected.
        alpha: The chance of one false rejection or more.
    """
    rejected = [False] * len(p_values)
    order = sorted(range(len(p_values)), key=lambda index: np.nan_to_num(p_values[index], nan=1.0))
    for rank, index in enumerate(order):
        if not p_values[index] <= alpha / (len(order) - rank):
            break
        rejected[index] = True
    return rejected
