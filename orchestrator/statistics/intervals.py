"""Intervals and tests from bootstrap values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from segtransfer.statistics.design import Design


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval, in the unit of the value.

    Attributes:
        value: The value, for example in percent or percentage points; NaN without a result.
        low: The lower bound; NaN if there is no interval.
        high: The upper bound; NaN if there is no interval.
        p: The two-sided p-value of the hypothesis that the value is 0, for differences only. NaN if
            all images have the same schedule, or if there is no interval.
    """

    value: float
    low: float
    high: float
    p: float = 1.0

    @property
    def beyond_noise(self) -> bool:
        """Return whether the interval excludes 0, without correction for several comparisons.

        Always False if ``p`` is NaN, as with a single schedule.
        """
        return not np.isnan(self.p) and (self.low > 0 or self.high < 0)


def interval_of(design: Design, values: Sequence[np.ndarray], level: float = 0.95) -> Interval:
    """Return the confidence interval of a statistic: value +- t SE.

    The bootstrap variance is divided by ``Factor.captured``: (G - 1) / G for G clusters of equal
    sizes. The quantile t has ``Factor.freedom`` degrees of freedom, G - 1 for equal sizes, or
    Satterthwaite's combination if factors cross. Resamples with value NaN (no counted pixel) are
    left out.

    Args:
        design: The design of the R resamples.
        values: Per factor, R + 1 values of the statistic; row 0 is the statistic itself.
        level: The coverage, a fraction in (0, 1).

    Returns:
        The interval. Bounds and p are NaN if a factor has a single cluster or the value is NaN; p
        is also NaN with a single schedule.
    """
    value = float(values[0][0])
    if np.isnan(value) or any(factor.clusters < 2 for factor in design.factors):
        return Interval(value, np.nan, np.nan, np.nan)
    variances = [
        float(_measured(replicates[1:]).var()) / factor.captured
        for factor, replicates in zip(design.factors, values, strict=True)
    ]
    parts = [(v, f) for v, f in zip(variances, design.factors, strict=True) if f.sign > 0]
    total = sum(v * f.sign for v, f in zip(variances, design.factors, strict=True))
    # The sum of signed variances may be too small: each factor's own variance is a lower bound.
    error = max(total, *(v for v, _ in parts)) ** 0.5
    if error == 0:
        certain = 1.0 if value == 0 else 0.0
        return Interval(value, value, value, np.nan if design.one_schedule else certain)
    freedom = sum(v for v, _ in parts) ** 2 / sum(v**2 / f.freedom for v, f in parts)
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    p = np.nan if design.one_schedule else 2 * float(stats.t.sf(abs(value) / error, freedom))
    return Interval(value, value - half, value + half, p)


def _measured(replicates: np.ndarray) -> np.ndarray:
    """Return the values other than NaN; a single 0 if all are NaN."""
    known = replicates[~np.isnan(replicates)]
    return known if len(known) else np.zeros(1)


def holm(p_values: Sequence[float], alpha: float = 0.05) -> list[bool]:
    """Test several hypotheses with a family-wise error rate of ``alpha``.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.

    Args:
        p_values: The p-values, in any order; NaN counts as a hypothesis and is never rejected.
        alpha: The probability of at least one false rejection, a fraction.

    Returns:
        Whether each hypothesis is rejected, in the order of ``p_values``.
    """
    rejected = [False] * len(p_values)
    order = sorted(range(len(p_values)), key=lambda index: np.nan_to_num(p_values[index], nan=1.0))
    for rank, index in enumerate(order):
        if not p_values[index] <= alpha / (len(order) - rank):
            break
        rejected[index] = True
    return rejected
