"""Colours of cells by their value in percent, as in the heat maps."""

from collections.abc import Sequence
from functools import cache

from markupsafe import Markup

from segtransfer.reporting.heatmaps import SEQUENTIAL_COLOURMAP
from segtransfer.reporting.html.estimates import RoundedInterval

BLACK, WHITE = "#000", "#fff"


@cache
def shades() -> tuple[tuple[str, str], ...]:
    """Return background and text colour of a cell for 256 values from 0 to 100 %.

    The text is black or white, whichever has the higher contrast.
    """
    return tuple(ink_on(SEQUENTIAL_COLOURMAP(i)) for i in range(256))


def ink_on(colour: Sequence[float]) -> tuple[str, str]:
    """Return a colour as hexadecimal digits, and the text colour of the higher contrast."""
    linear = [((c + 0.055) / 1.055) ** 2.4 if c > 0.04045 else c / 12.92 for c in colour[:3]]
    luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    # Black and white have the same contrast at this luminance (WCAG 2.2).
    ink = BLACK if luminance > 0.179 else WHITE
    return "#" + bytes(round(255 * c) for c in colour[:3]).hex(), ink


def paint(interval: RoundedInterval | None) -> Markup:
    """Return the style attribute of a cell; empty for a missing value."""
    if interval is None:
        return Markup("")
    shade, ink = shades()[min(255, max(0, int(interval[0] * 2.56)))]
    return Markup(' style="background:{};color:{}"').format(shade, ink)
