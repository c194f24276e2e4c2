"""Matrices of studies: mIoU per scale of making and scale of scoring."""

import numpy as np
from matplotlib.figure import Figure

from segtransfer.reporting.drawn_tables import DrawnCell, DrawnRow, DrawnTable
from segtransfer.reporting.shading import Shading
from segtransfer.reporting.table_pages import TableKey, draw_tables
from segtransfer.statistics import Interval
from segtransfer.studies.scales import SCALES, Scales


def draw_scales(numbers: Scales, heading: str) -> Figure:
    """Draw mIoU per scale of making (rows) and of scoring (columns), dynamic scaling last.

    Colours span the drawn values only, because they differ by a few points.

    Args:
        numbers: The numbers of the study.
        heading: The heading of the figure.
    """
    values = [interval.value for row in (*numbers.pgd, numbers.ds) for interval in row]
    shading = Shading(float(np.floor(min(values))), float(np.ceil(max(values))))

    def row(label: str, intervals: list[Interval], own: int | None) -> DrawnRow:
        cells = []
        for place, interval in enumerate(intervals):
            colour, ink = shading.of(interval.value)
            half = f"±{(interval.high - interval.low) / 2:.1f}"
            cells.append(DrawnCell(f"{interval.value:.1f}", half, colour, ink, place == own))
        return DrawnRow(label, "", tuple(cells))

    pgd = [row(f"PGD at {s:g}", list(numbers.pgd[i]), i) for i, s in enumerate(SCALES)]
    table = DrawnTable(
        title="",
        lines=(f"mean mIoU of {', '.join(numbers.networks)}",),
        row_axis="made by",
        column_axis="scored at scale",
        columns=(("", tuple(f"{scale:g}" for scale in SCALES)),),
        sections=(tuple(pgd), (row("dynamic scaling", list(numbers.ds), None),)),
    )
    marks = (("frame", "scored at the scale of making"), ("±0.5", "half of the 95 % interval"))
    ends = f"{shading.low:.0f}", f"{shading.high:.0f}"
    key = TableKey(shading.colourmap, *ends, "mIoU, %; dark: strong attack", marks)
    return draw_tables([table], heading, key)
