"""Files of a study's report: figure, paragraph and numbers."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from segtransfer.reporting.entries import IndexEntry, about, when, write_entry
from segtransfer.reporting.places import report_folder
from segtransfer.reporting.studies.bars import draw_ablation, draw_heads, draw_sizes, draw_twins
from segtransfer.reporting.studies.curves import draw_overfitting, draw_sweep
from segtransfer.reporting.studies.equal_cost import draw_equal_cost
from segtransfer.reporting.studies.matrices import draw_scales
from segtransfer.studies import StudyResult

DOCS_DPI = 110  # keeps the figures small that documentation pages show

STUDY_FIGURES: dict[str, Callable[[Any, str], Figure]] = {
    "overfitting": draw_overfitting,
    "scales": draw_scales,
    "twins": draw_twins,
    "heads": draw_heads,
    "object-size": draw_sizes,
    "ablation": draw_ablation,
    "eps": draw_sweep,
    "rivals": draw_equal_cost,
    "jitter": draw_equal_cost,
}


def draw(result: StudyResult) -> Figure:
    """Return the figure of a study, drawn from its numbers."""
    facts = result.numbers.facts
    about = f"{facts.images} images of {facts.dataset}, {facts.effort}"
    heading = f"{result.study.question}\n{about}"
    return STUDY_FIGURES[result.study.name](result.numbers, heading)


def write_study(result: StudyResult) -> Path:
    """Write study.png, study.md and study.json into the experiment's report folder.

    Returns:
        The folder.
    """
    folder = report_folder(result.results)
    folder.mkdir(parents=True, exist_ok=True)
    draw(result).savefig(folder / "study.png", dpi=DOCS_DPI)
    paragraph = result.paragraph.replace("*", r"\*")  # a line may hold eps*sign twice
    warnings = "".join(f"\n- {warning.sentence}" for warning in result.results.warnings)
    warned = f"\n**Warnings**\n{warnings}\n".replace("*sign", r"\*sign") if warnings else ""
    text = f"**{result.study.question}**\n\n{paragraph}\n{warned}"
    (folder / "study.md").write_text(text, encoding="utf-8")
    numbers = json.dumps(asdict(result.numbers), indent=1)
    (folder / "study.json").write_text(numbers, encoding="utf-8")
    entry = IndexEntry(
        kind="study",
        store=result.results.store.location,
        identity=result.results.identity,
        title=result.study.name,
        when=when(result.results),
        about=about(result.results),
        finding=result.paragraph,
        files={"Figure": "study.png", "Text": "study.md", "Numbers": "study.json"},
    )
    write_entry(entry, folder)
    return folder
