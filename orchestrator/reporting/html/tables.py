"""Tables of the page: transfer matrices, summaries of attacks, IoU per class."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from segtransfer.experiment.task import CLEAN
from segtransfer.reporting.html.estimates import Estimates, percent
from segtransfer.results import PAIR_GROUPS, Results
from segtransfer.results.text import HEADLINES, attack_in_words, row_name, rows


@dataclass(frozen=True)
class CellView:
    """A matrix's cell: index of its estimate, and the headline group of its pair."""

    number: int
    group: str


@dataclass(frozen=True)
class RowView:
    """A matrix's row: its label and cells."""

    name: str
    cells: tuple[CellView, ...]


@dataclass(frozen=True)
class MatrixView:
    """A transfer matrix: indices of estimates, per source and target.

    Attributes:
        attack: The attack's name.
        settings: The attack in words.
        there: Number of cells with a result.
        cells: Number of all cells.
        clean: Estimates on the clean images, per target.
        rows: A row per source.
        headlines: Label and estimate per headline group; None if the group has no pair.
    """

    attack: str
    settings: str
    there: int
    cells: int
    clean: tuple[int, ...]
    rows: tuple[RowView, ...]
    headlines: tuple[tuple[str, int | None], ...]

    @property
    def partial(self) -> bool:
        """Whether cells are missing."""
        return self.there < self.cells


@dataclass(frozen=True)
class AttackSummary:
    """A row of the table of attacks.

    Attributes:
        attack: The attack's name.
        settings: The attack in words.
        sourced: Whether the attack uses a source.
        final: Whether the row is the attack's last step, not an earlier iterate.
        partial: Whether cells are missing.
        means: Estimates per headline group; None if the group has no pair.
        difference: Estimate of the difference to the baseline; None for iterates.
        fixed: Values of ``FIXED_COLUMNS``, NaN if unknown.
    """

    attack: str
    settings: str
    sourced: bool
    final: bool
    partial: bool
    means: tuple[int | None, ...]
    difference: int | None
    fixed: tuple[float, ...]


# Name, label and meaning of the columns that are equal for all metrics.
FIXED_COLUMNS = (
    ("rms", "RMS", "root mean square of the perturbation, in 8-bit levels"),
    ("mean_abs", "Mean / eps", "mean absolute perturbation over eps"),
    ("at_bound", "At bound", "share of values at the eps bound, percent"),
    ("psnr", "PSNR", "peak signal-to-noise ratio against the clean image, dB"),
    (
        "forward_equivalents",
        "Cost",
        "forward equivalents an image: pixels seen over those of one forward at its own size",
    ),
    ("seconds", "Seconds", "inside models, over all sources and images"),
)


def main_attacks(results: Results) -> list[str]:
    """Return an iterate per attack of the spec: the last raw iterate, or else the last score."""
    main: dict[str, str] = {}
    for name, made in results.variants.items():
        attack = made.attack
        if attack not in main or made.score == "raw":
            main[attack] = name
    return list(main.values())


def is_final(results: Results, attack: str) -> bool:
    """Return whether an iterate is the last step of its attack, under any score."""
    made = results.variants[attack]
    steps = [other.step for other in results.variants.values() if other.attack == made.attack]
    return made.step == max(steps)


def matrices(results: Results, estimates: Estimates) -> tuple[list[MatrixView], list[MatrixView]]:
    """Return the matrices of the main attacks, and of all other iterates and scores."""
    clean = tuple(estimates.clean(target) for target in results.targets)
    main = main_attacks(results)
    others = [attack for attack in results.attacks if attack not in main]
    drawn, more = (
        [_matrix(results, estimates, attack, clean) for attack in attacks]
        for attacks in (main, others)
    )
    return drawn, more


def _matrix(
    results: Results, estimates: Estimates, attack: str, clean: tuple[int, ...]
) -> MatrixView:
    sourced = results.needs_source(attack)

    def row(source: str) -> RowView:
        cells = [
            CellView(
                estimates.cell(attack, source, target),
                results.group(source, target) if sourced else "",
            )
            for target in results.targets
        ]
        return RowView(row_name(results, attack, source), tuple(cells))

    headlines: list[tuple[str, int | None]]
    if sourced:
        headlines = [(HEADLINES[group], estimates.mean(attack, group)) for group in PAIR_GROUPS]
    else:
        headlines = [("mean over targets", estimates.mean_over_targets(attack))]
    there, cells = results.coverage(attack)
    return MatrixView(
        attack=attack,
        settings=attack_in_words(results, attack),
        there=there,
        cells=cells,
        clean=clean,
        rows=tuple(row(source) for source in rows(results, attack)),
        headlines=tuple(headlines),
    )


def baseline_of(results: Results) -> str | None:
    """Return the attack that others are compared with: the first with a source, or None."""
    return next((a for a in main_attacks(results) if results.needs_source(a)), None)


def transfer_group(results: Results) -> str:
    """Return the headline group that stands for transfer: other backbones, if there are any."""
    groups = {results.group(s, t) for s in results.sources for t in results.targets}
    return next(g for g in ("cross_backbone", "same_backbone", "diagonal") if g in groups)


def summarise(results: Results, estimates: Estimates) -> list[AttackSummary]:
    """Return a summary per attack: headline means, difference to the baseline, cost."""
    baseline, group = baseline_of(results), transfer_group(results)
    summaries = []
    for attack in results.attacks:
        there, cells = results.coverage(attack)
        other = baseline if attack != baseline and is_final(results, attack) else None
        summaries.append(
            AttackSummary(
                attack=attack,
                settings=attack_in_words(results, attack),
                sourced=results.needs_source(attack),
                final=is_final(results, attack),
                partial=there < cells,
                means=tuple(estimates.mean(attack, g) for g in PAIR_GROUPS),
                difference=None if other is None else estimates.difference(attack, other, group),
                fixed=_fixed(results, attack),
            )
        )
    return summaries


def _fixed(results: Results, attack: str) -> tuple[float, ...]:
    statistics, cost = results.perturbation(attack), results.cost(attack)
    values = pd.concat([statistics, cost])
    if "at_bound" in values:
        values["at_bound"] *= 100
    return tuple(float(values.get(name, math.nan)) for name, *_ in FIXED_COLUMNS)


def class_values(results: Results) -> dict[str, Any]:
    """Return IoU per class in percent.

    Returns:
        ``clean`` per target and class, ``attacks`` per main attack, row, target and class. None
        stands for a missing cell or a class that does not occur.
    """
    return {
        "clean": [_classes(results, CLEAN, None, target) for target in results.targets],
        "attacks": [
            [
                [_classes(results, attack, source, target) for target in results.targets]
                for source in rows(results, attack)
            ]
            for attack in main_attacks(results)
        ],
    }


def _classes(
    results: Results, attack: str, source: str | None, target: str
) -> list[float | None] | None:
    try:
        return [percent(value) for value in results.class_iou(attack, source, target)]
    except KeyError:
        return None
