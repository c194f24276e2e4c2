"""Entries of the index: the headline of each report, kept as a small file beside the report."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segtransfer.results import Results
from segtransfer.results.text import HEADLINES, cell, number
from segtransfer.results.views import best_attack, mean_over_targets, transfer_group
from segtransfer.tasks.schema import strength_text

if TYPE_CHECKING:
    from segtransfer.comparison import Comparison

Kind = Literal["experiment", "study", "search", "comparison", "leaderboard"]
FileName = Annotated[str, Field(pattern=r"^[^/\\]+$")]


class IndexEntry(BaseModel):
    """An entry of the index.

    Attributes:
        kind: The kind of report.
        store: The location of the store.
        identity: The identity of the experiment, search or comparison.
        title: The name.
        when: The end of the computation, in ISO 8601; empty if it is not known.
        about: The data, models and attacks in a line.
        finding: The result in a sentence; empty if there are only numbers.
        numbers: Label and value of each headline number.
        state: The reason why the report is not whole; empty if it is.
        files: Label and file of each link; the first is the report.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    kind: Kind
    store: str
    identity: str
    title: str
    when: str
    about: str = ""
    finding: str = ""
    numbers: dict[str, str] = {}
    state: str = ""
    files: dict[str, FileName] = {}


def write_entry(entry: IndexEntry, folder: Path) -> None:
    """Write an entry into the folder of its report.

    Args:
        entry: The entry.
        folder: The folder of the report; an older entry of this kind is replaced.
    """
    text = entry.model_dump_json(indent=1)
    (folder / entry_name(entry.kind)).write_text(text, encoding="utf-8")


def entry_name(kind: Kind) -> str:
    """Return the file name of an entry."""
    return f"index-{kind}.json"


def read_entries(root: Path) -> Iterator[tuple[IndexEntry, Path]]:
    """Yield the entries of all reports below a folder, with their files; others are left out.

    Args:
        root: The folder with a folder per report.

    Yields:
        An entry and its file, sorted by path. Unreadable files and files without an entry are left
        out.
    """
    for path in sorted(root.glob("*/index-*.json")):
        try:
            yield IndexEntry.model_validate_json(path.read_bytes()), path
        except (OSError, ValidationError):
            continue


def experiment_entry(results: Results, page: str) -> IndexEntry:
    """Return the entry of an experiment.

    Args:
        results: The results.
        page: The file name of the page.
    """
    return IndexEntry(
        kind="experiment",
        store=results.store.location,
        identity=results.identity,
        title=results.name,
        when=when(results),
        about=about(results),
        numbers=dict(_numbers(results)),
        state=_state(results),
        files={"Report": page, "Matrices": "matrices.png", "Cells as CSV": "results.csv"},
    )


def comparison_entry(comparison: "Comparison", title: str, pairs: list[str]) -> IndexEntry:
    """Return the entry of a comparison.

    Args:
        comparison: The comparison.
        title: The names of both runs.
        pairs: The title of each pair of attacks.
    """
    return IndexEntry(
        kind="comparison",
        store=comparison.b.store.location,
        identity=comparison.identity,
        title=title,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        about="; ".join(pairs),
        finding=" ".join(comparison.verdict(attack) for _, attack in comparison.attacks),
        files={"Differences": "differences.png", "Text": "summary.md", "CSV": "differences.csv"},
    )


def when(results: Results) -> str:
    """Return the end of an experiment's computation, in ISO 8601; empty if nothing is stored.

    Returns:
        The end of the recorded run; without a record, the end of the last stored task. Empty
        without both.
    """
    if results.manifest.run:
        return results.manifest.run.ended
    last = max((end for _, end in results.spans.values()), default=math.nan)
    return "" if math.isnan(last) else datetime.fromtimestamp(last, UTC).isoformat()


def about(results: Results) -> str:
    """Return the data, models, attacks and eps of an experiment in a line.

    Returns:
        Parts joined by a middle dot: eps, seed, attacks, numbers of sources and targets, images.
    """
    eps = sorted({attack.eps for attack in results.manifest.settings.attacks})
    sources, targets = len(results.sources), len(results.targets)
    parts = [  # first the settings that tell experiments of the same name apart
        f"eps {', '.join(map(strength_text, eps))}",
        f"seed {results.manifest.settings.seed}",
        ", ".join(attack.name for attack in results.manifest.settings.attacks),
        f"{sources} {'source' if sources == 1 else 'sources'}",
        f"{targets} {'target' if targets == 1 else 'targets'}",
        f"{len(results.image_ids)} images of {results.manifest.dataset}",
    ]
    return " · ".join(parts)


def _numbers(results: Results) -> Iterator[tuple[str, str]]:
    """Yield the clean mean, the best attack and its mean, and the floor of an attack's noise."""
    yield f"clean {results.quality}", number(float(results.clean().mean(skipna=False)))
    best, group = best_attack(results), transfer_group(results)
    if best is not None:
        means, drops = results.headlines(best), results.headlines(best, "drop")
        yield f"{best}, {HEADLINES[group]}", cell(means[group], drops[group])
    for attack in results.attacks:
        if not results.needs_source(attack):
            yield f"{attack}, without a model", number(mean_over_targets(results, attack))
            return


def _state(results: Results) -> str:
    """Return why results are not whole, or the number of warnings, or nothing."""
    parts = []
    if results.missing:
        parts.append(f"PARTIAL: {len(results.missing)} of {len(results.manifest.cells)} "
                     "evaluations are missing")  # fmt: skip
    if count := len(results.warnings):
        parts.append(f"{count} {'warning' if count == 1 else 'warnings'}")
    return "; ".join(parts)
