"""Matrices of studies: mIoU per scale of making and scale of scoring."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from segtransfer.reporting.heatmaps import SEQUENTIAL_COLOURMAP
from segtransfer.studies.scales import SCALES, Scales


def draw_scales(numbers: Scales) -> Figure:
    """Draw mIoU per scale of making (rows) and of scoring (columns), dynamic scaling last.

    Colours span the drawn values only, because they differ by a few points.
    """
    rows = [*numbers.pgd, numbers.ds]
    values = np.array([[interval.value for interval in row] for row in rows])
    figure = Figure(figsize=(6.2, 4.6), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(values, cmap=SEQUENTIAL_COLOURMAP, aspect="auto")
    middle = (values.min() + values.max()) / 2
    for y, row in enumerate(rows):
        for x, interval in enumerate(row):
            ink = "black" if interval.value > middle else "white"
            text = f"{interval.value:.1f}\n±{(interval.high - interval.low) / 2:.1f}"
            axes.text(x, y, text, ha="center", va="center", color=ink, fontsize=8)
    for at in range(len(SCALES)):
        axes.add_patch(Rectangle((at - 0.47, at - 0.47), 0.94, 0.94, fill=False, ec="white"))
    axes.axhline(len(SCALES) - 0.5, color="white", linewidth=4)
    scales = [f"{scale:g}" for scale in SCALES]
    axes.set_xticks(range(len(scales)), scales)
    axes.set_yticks(range(len(rows)), [*(f"PGD at {s}" for s in scales), "dynamic\nscaling"])
    axes.tick_params(length=0, labelsize=9)
    axes.set_xlabel("scored at scale", fontsize=9)
    axes.set_title(f"mIoU of {', '.join(numbers.networks)}, %", fontsize=9, loc="left")
    for side in axes.spines.values():
        side.set_visible(False)
    figure.colorbar(drawn, ax=axes, shrink=0.8, aspect=30)
    return figure
