"""What a study found, on disk: one figure, one paragraph, and the numbers behind them."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from segtransfer.reporting.folder import report_folder
from segtransfer.reporting.studies.bars import draw_ablation, draw_heads, draw_sizes, draw_twins
from segtransfer.reporting.studies.curves import draw_overfitting, draw_sweep
from segtransfer.reporting.studies.matrices import draw_scales
from segtransfer.studies import StudyResult

DPI = 110  # figures of pages, which should stay small

FIGURES: dict[str, Callable[[Any], Figure]] = {
    "overfitting": draw_overfitting,
    "scales": draw_scales,
    "twins": draw_twins,
    "heads": draw_heads,
    "object-size": draw_sizes,
    "ablation": draw_ablation,
    "eps": draw_sweep,
}


def draw(found: StudyResult) -> Figure:
    """The figure of a study, from its numbers alone."""
    figure = FIGURES[found.study.name](found.numbers)
    facts = found.numbers.facts
    figure.suptitle(
        f"{found.study.question}\n{facts.images} images of {facts.dataset}, {facts.effort}",
        fontsize=10,
    )
    return figure


def write_study(found: StudyResult) -> Path:
    """Write study.png, study.md and study.json into the experiment's report folder; returns it."""
    folder = report_folder(found.results)
    folder.mkdir(parents=True, exist_ok=True)
    draw(found).savefig(folder / "study.png", dpi=DPI)
    paragraph = found.paragraph.replace("*", r"\*")  # of eps*sign, twice in a line
    (folder / "study.md").write_text(f"**{found.study.question}**\n\n{paragraph}\n")
    numbers = json.dumps(asdict(found.numbers), indent=1)
    (folder / "study.json").write_text(numbers)
    return folder
