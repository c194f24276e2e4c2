"""Colours of cells: a scale per metric and experiment, on which a strong attack is dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import matplotlib as mpl
import numpy as np

from segtransfer.results import Results
from segtransfer.tasks.metrics import METRICS

STRONG_IS_DARK = mpl.colormaps["viridis"]  # 0 is dark
MISSING_COLOUR = "#e6e6e6"
BLACK, WHITE = "#000", "#fff"
SHADES = 256
STEP = 10.0  # percent, to which the ends of a scale are rounded


@dataclass(frozen=True)
class Shading:
    """The colour scale of a metric, fixed within an experiment.

    Attributes:
        low: The lower end of the scale, in percent.
        high: The upper end of the scale, in percent, above ``low``.
        low_is_strong: Whether a low value means a strong attack, as of mIoU and accuracy.
    """

    low: float
    high: float
    low_is_strong: bool = True

    @property
    def colourmap(self) -> mpl.colors.Colormap:
        """Return the colours from ``low`` to ``high``; a strong attack is dark in any metric."""
        return STRONG_IS_DARK if self.low_is_strong else STRONG_IS_DARK.reversed()

    def of(self, value: float) -> tuple[str, str]:
        """Return the colour of a cell and of its text.

        Args:
            value: The value in percent; values outside the scale get the colour of its nearer end.

        Returns:
            Two hexadecimal colours. The cell is grey if the value is NaN.
        """
        if math.isnan(value):
            return MISSING_COLOUR, BLACK
        share = (value - self.low) / (self.high - self.low)
        share = share if self.low_is_strong else 1 - share
        return shades()[min(SHADES - 1, max(0, math.floor(share * SHADES)))]


WHOLE_RANGE = Shading(0.0, 100.0)


def shading_of(results: Results, metric: str | None = None) -> Shading:
    """Fit the scale of a metric to all matrices of an experiment and to the clean images.

    Args:
        results: The experiment.
        metric: A metric of ``Results.matrix``. Default: the headline metric.

    Returns:
        A scale within 0 to 100 % whose ends are multiples of 10. It starts at 0 for a metric
        relative to the clean images, because 0 is the value of the clean images themselves.
    """
    metric = metric or results.headline
    entry = METRICS.find(metric)
    absolute = entry.of_margins is not None
    tables = [results.matrix(attack, metric).to_numpy().ravel() for attack in results.attacks]
    tables.append(results.clean(metric).to_numpy() if absolute else np.zeros(1))
    values = np.concatenate(tables)
    known = np.clip(values[np.isfinite(values)], 0.0, 100.0)
    if not len(known):
        return Shading(0.0, 100.0, entry.lower_fools_more)
    low = math.floor(known.min() / STEP) * STEP if absolute else 0.0
    high = max(math.ceil(known.max() / STEP) * STEP, low + STEP)
    return Shading(low, high, entry.lower_fools_more)


@cache
def shades() -> tuple[tuple[str, str], ...]:
    """Return the colours of a cell and of its text, from a strong attack to none.

    Returns:
        256 pairs of hexadecimal colours, darkest first.
    """
    return tuple(ink_on(STRONG_IS_DARK(i)) for i in range(SHADES))


def ink_on(colour: Sequence[float]) -> tuple[str, str]:
    """Return a colour as hexadecimal digits, and black or white as the text colour.

    Args:
        colour: Red, green and blue in [0, 1]; further values are ignored.

    Returns:
        The colour, and the text colour with the higher contrast (WCAG 2.2).
    """
    linear = [((c + 0.055) / 1.055) ** 2.4 if c > 0.04045 else c / 12.92 for c in colour[:3]]
    luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    # Black and white have the same contrast at this luminance.
    ink = BLACK if luminance > 0.179 else WHITE
    return "#" + bytes(round(255 * c) for c in colour[:3]).hex(), ink
