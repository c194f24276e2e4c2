"""Matrices of studies: mIoU per scale of making and scale of scoring."""

import numpy as np
from matplotlib.figure import Figure

from segtransfer.reporting.drawn_tables import DrawnCell, DrawnRow, DrawnTable
from segtransfer.reporting.shading import Shading
from segtransfer.reporting.table_pages import TableKey, draw_tables
from segtransfer.studies.scales import RESTORED, SCALES, QualityByScale, Scales

CELL = 0.66  # inches; two matrices fit on a page
DRAWN = {"raw": "as made", RESTORED: "equal RMS after the resize"}


def draw_scales(numbers: Scales, heading: str) -> Figure:
    """Draw mIoU per scale of making (rows) and of scoring (columns), dynamic scaling last.

    AEs as made and at equal energy after the resize are side by side, in the same colours. Colours
    span the drawn values only, because they differ by a few points.

    Args:
        numbers: The numbers of the study.
        heading: The heading of the figure.
    """
    rows = [row for score in DRAWN for row in (*numbers.pgd[score], numbers.ds[score])]
    values = [interval.value for row in rows for interval in row]
    shading = Shading(float(np.floor(min(values))), float(np.ceil(max(values))))
    tables = [_table(numbers, score, shading) for score in DRAWN]
    marks = (("frame", "scored at the scale of making"), ("±0.5", "half of the 95 % interval"))
    ends = f"{shading.low:.0f}", f"{shading.high:.0f}"
    unit = f"{numbers.facts.metric}, %; dark: strong attack"
    key = TableKey(shading.colourmap, *ends, unit, marks)
    return draw_tables(tables, heading, key, cell=CELL)


def _table(numbers: Scales, score: str, shading: Shading) -> DrawnTable:
    """Return the matrix of AEs in a score."""

    def row(label: str, intervals: QualityByScale, own: int | None) -> DrawnRow:
        cells = []
        for place, interval in enumerate(intervals):
            colour, ink = shading.of(interval.value)
            half = f"±{(interval.high - interval.low) / 2:.1f}"
            cells.append(DrawnCell(f"{interval.value:.1f}", half, colour, ink, place == own))
        return DrawnRow(label, "", tuple(cells))

    pgd = [row(f"PGD at {s:g}", numbers.pgd[score][i], i) for i, s in enumerate(SCALES)]
    return DrawnTable(
        title=DRAWN[score],
        lines=(f"mean {numbers.facts.metric} of {', '.join(numbers.networks)}",),
        row_axis="made by",
        column_axis="scored at scale",
        columns=(("", tuple(f"{scale:g}" for scale in SCALES)),),
        sections=(tuple(pgd), (row("dynamic scaling", numbers.ds[score], None),)),
    )
