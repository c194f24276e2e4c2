"""The page's tables: matrices, attacks side by side, IoU of every class."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from segtransfer.experiment.task import CLEAN
from segtransfer.reporting.html.numbers import Numbers, percent
from segtransfer.results import PAIR_GROUPS, Results
from segtransfer.results.text import HEADLINES, attack_in_words, row_name, rows


@dataclass(frozen=True)
class Cell:
    """A cell of a matrix: its number, and the headline group of its pair."""

    number: int
    group: str


@dataclass(frozen=True)
class Row:
    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Matrix:
    """A transfer matrix: clean numbers by target, a row a source, the headline means."""

    attack: str
    settings: str
    there: int
    cells: int
    clean: tuple[int, ...]
    rows: tuple[Row, ...]
    headlines: tuple[tuple[str, int | None], ...]

    @property
    def partial(self) -> bool:
        return self.there < self.cells


@dataclass(frozen=True)
class Compared:
    """An attack beside the others: numbers that follow the metric, then plain values or NaN.

    ``final``: its last step, not an iterate on the way; only those are compared.
    """

    attack: str
    settings: str
    sourced: bool
    final: bool
    partial: bool
    means: tuple[int | None, ...]
    difference: int | None
    plain: tuple[float, ...]


PLAIN = (
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
    """What stands for each attack of the spec: its last iterate as it is, or its last score."""
    found: dict[str, str] = {}
    for name, made in results.variants.items():
        attack = made["attack"]
        if attack not in found or made["score"] == "raw":
            found[attack] = name
    return list(found.values())


def is_final(results: Results, attack: str) -> bool:
    """Whether this is the last step of its attack, under any score."""
    made = results.variants[attack]
    steps = [
        other["step"] for other in results.variants.values() if other["attack"] == made["attack"]
    ]
    return made["step"] == max(steps)


def matrices(results: Results, numbers: Numbers) -> tuple[list[Matrix], list[Matrix]]:
    """The matrices of the main attacks, and those of all else that attacks made."""
    clean = tuple(numbers.clean(target) for target in results.targets)
    main = main_attacks(results)
    others = [attack for attack in results.attacks if attack not in main]
    drawn, more = (
        [_matrix(results, numbers, attack, clean) for attack in attacks]
        for attacks in (main, others)
    )
    return drawn, more


def _matrix(results: Results, numbers: Numbers, attack: str, clean: tuple[int, ...]) -> Matrix:
    sourced = results.needs_source(attack)

    def row(source: str) -> Row:
        cells = [
            Cell(
                numbers.cell(attack, source, target),
                results.group(source, target) if sourced else "",
            )
            for target in results.targets
        ]
        return Row(row_name(results, attack, source), tuple(cells))

    headlines: list[tuple[str, int | None]]
    if sourced:
        headlines = [(HEADLINES[group], numbers.mean(attack, group)) for group in PAIR_GROUPS]
    else:
        headlines = [("mean over targets", numbers.mean_over_targets(attack))]
    there, cells = results.coverage(attack)
    return Matrix(
        attack=attack,
        settings=attack_in_words(results, attack),
        there=there,
        cells=cells,
        clean=clean,
        rows=tuple(row(source) for source in rows(results, attack)),
        headlines=tuple(headlines),
    )


def baseline_of(results: Results) -> str | None:
    """The attack that others are compared with: the first that uses a source."""
    return next((a for a in main_attacks(results) if results.needs_source(a)), None)


def far_group(results: Results) -> str:
    """The headline group that stands for transfer: other backbones, where there are any."""
    groups = {results.group(s, t) for s in results.sources for t in results.targets}
    return next(g for g in ("cross_backbone", "same_backbone", "diagonal") if g in groups)


def compare(results: Results, numbers: Numbers) -> list[Compared]:
    """Every attack: headline means, difference to the baseline, perturbation, cost."""
    baseline, group = baseline_of(results), far_group(results)
    found = []
    for attack in results.attacks:
        there, cells = results.coverage(attack)
        other = baseline if attack != baseline and is_final(results, attack) else None
        found.append(
            Compared(
                attack=attack,
                settings=attack_in_words(results, attack),
                sourced=results.needs_source(attack),
                final=is_final(results, attack),
                partial=there < cells,
                means=tuple(numbers.mean(attack, g) for g in PAIR_GROUPS),
                difference=None if other is None else numbers.difference(attack, other, group),
                plain=_plain(results, attack),
            )
        )
    return found


def _plain(results: Results, attack: str) -> tuple[float, ...]:
    statistics, cost = results.perturbation(attack), results.cost(attack)
    values = pd.concat([statistics, cost])
    if "at_bound" in values:
        values["at_bound"] *= 100
    return tuple(float(values.get(name, math.nan)) for name, *_ in PLAIN)


def class_values(results: Results) -> dict[str, Any]:
    """IoU of every class in percent: ``clean`` by target and class, ``attacks`` by main attack,
    row and target; None where a cell is missing or a class does not occur."""
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
