"""The tables of a paper: matrices, means of all attacks, comparisons, studies."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from segtransfer.comparison import Comparison
from segtransfer.reporting.comparison_layout import (
    Grid,
    attack_lines,
    lay_out,
    meaning,
    pair_title,
)
from segtransfer.reporting.paper import MISSING, PaperCell, PaperRow, PaperTable
from segtransfer.reporting.shading import shading_of
from segtransfer.results import PAIR_GROUPS, Results
from segtransfer.results.denominators import denominators
from segtransfer.results.lookup import check_attack
from segtransfer.results.text import number, signed_number, unit
from segtransfer.results.views import (
    MatrixCell,
    TransferMatrix,
    attack_summary,
    baseline_of,
    main_attacks,
    pair_groups,
    transfer_matrix,
)
from segtransfer.statistics import NO_VERDICT, Interval, Pair, Resampled, holm, pairs_of
from segtransfer.studies import CLAIMS, StudyResult
from segtransfer.tasks.image_metrics import score_of
from segtransfer.tasks.metrics import METRICS

Key = TypeVar("Key", bound=Hashable)
COLUMN_HEADS = {
    "diagonal": "white-box",
    "same_network": "same network",
    "same_backbone": "same backbone",
    "cross_backbone": "other backbone",
}
WHITE_BOX = "* white-box."
SIZE_NOTE = "RMS of the perturbation in 8-bit levels; cost in forward equivalents per image."
NORM_NOTE = (
    "Norm: median over images of the L-infinity norm at 99 % fooled pixels of the source, in 8-bit "
    "levels, infinite if not reached; reached: the share of images, percent. "
)


def checked(results: Results, attack: str | None, metric: str | None) -> str:
    """Refuse an attack or a metric that the results lack.

    Returns:
        The metric; the headline metric for None.

    Raises:
        InputError: The attack or the metric is unknown.
    """
    if attack is not None:
        check_attack(results, attack)
    metric = metric or results.headline
    score_of(metric, results.headline)
    return metric


@dataclass(frozen=True)
class _Cells:
    """The cells of a metric of some results, with intervals if there is a ``sample``."""

    results: Results
    metric: str
    sample: Resampled | None

    def clean(self, target: str, value: float) -> PaperCell:
        """Return a target's cell on clean images."""
        half = self._half(lambda sample: sample.clean(target, self.metric))
        return PaperCell(_number(value), half, value=value)

    def cell(self, attack: str, source: str, shown: MatrixCell, bold: bool) -> PaperCell:
        """Return a cell of an attack's matrix."""
        return PaperCell(
            text=_number(shown.value),
            half=self._half(lambda sample: sample.cell(attack, source, shown.target, self.metric)),
            change="" if math.isnan(shown.drop) else signed_number(-shown.drop),
            bold=bold,
            white_box=shown.white_box,
            value=shown.value,
        )

    def mean(self, attack: str, pairs: Sequence[Pair], bold: bool = False) -> PaperCell:
        """Return the mean over pairs; a dash without pairs, or with a missing cell.

        Args:
            attack: The name of an attack's variant.
            pairs: Sources and targets.
            bold: Whether the mean is beyond noise.
        """
        if not pairs:
            return PaperCell(MISSING)
        matrix = self.results.matrix(attack, self.metric)
        value = float(np.mean([matrix.loc[pair] for pair in pairs]))
        half = self._half(lambda sample: sample.mean(attack, pairs, self.metric))
        return PaperCell(_number(value), half, bold=bold, value=value)

    def _half(self, estimate: Callable[[Resampled], Interval]) -> str:
        try:
            return "" if self.sample is None else width_of(estimate(self.sample), 1)
        except KeyError:  # a missing cell
            return ""


def matrix_table(results: Results, attack: str, metric: str, *, intervals: bool) -> PaperTable:
    """Return an attack's matrix below the clean row, with the means of each source.

    Args:
        results: The results.
        attack: The name of an attack's variant.
        metric: A metric of ``Results.matrix``.
        intervals: Whether to resample the images for intervals and for bold cells.
    """
    view = transfer_matrix(results, attack, metric)
    sample = Resampled(results) if intervals else None
    cells, bold = _Cells(results, metric, sample), _beyond(results, sample, view)
    pairs = {g: pairs_of(results, g) for g in PAIR_GROUPS[1:] if _has(results, g)}
    pairs = pairs if results.needs_source(attack) else {}
    blank = (PaperCell(),) * len(pairs)
    top = [
        cells.clean(target, value) for target, value in zip(view.targets, view.clean, strict=False)
    ]
    rows = [
        PaperRow(
            row.name,
            (
                *(cells.cell(attack, row.source, c, (row.source, c.target) in bold)
                  for c in row.cells),
                *(cells.mean(attack, [p for p in members if p[0] == row.source])
                  for members in pairs.values()),
            ),
        )
        for row in view.rows
    ]  # fmt: skip
    bottom = [cells.mean(attack, members) for members in pairs.values()]
    sections = (
        (PaperRow("clean", (*top, *blank)),) if top else (),
        tuple(rows),
        (PaperRow("mean", (*(PaperCell(),) * len(view.targets), *bottom)),) if bottom else (),
    )
    return PaperTable(
        label=f"{results.name} {attack}",
        caption=f"{attack} ({view.settings}): {_metric_words(results, metric)} on "
        f"{images_of(results)}.",
        head=("source", *view.targets, *(COLUMN_HEADS[group] for group in pairs)),
        sections=tuple(section for section in sections if section),
        notes=(*_matrix_notes(results, view, sample), *_ratio_notes(results, metric, [attack])),
        shading=shading_of(results, metric),
    )


def _matrix_notes(
    results: Results, view: TransferMatrix, sample: Resampled | None
) -> tuple[str, ...]:
    cells = [cell for row in view.rows for cell in row.cells]
    legend = [WHITE_BOX] * any(cell.white_box for cell in cells)
    if not all(math.isnan(cell.drop) for cell in cells):
        legend.append("In brackets the change from clean.")
    if sample is not None:
        legend.append("± half of the 95 % interval.")
        baseline = baseline_of(results)
        if baseline not in (None, view.attack):
            legend.append(f"Bold: the difference to {baseline} is beyond noise.")
    return (" ".join(legend), *(sample.notes if sample else ()))


def _beyond(results: Results, sample: Resampled | None, view: TransferMatrix) -> set[Pair]:
    """Return the pairs whose difference to the baseline is beyond noise, by Holm's correction."""
    baseline = baseline_of(results)
    if sample is None or baseline is None or baseline == view.attack:
        return set()
    pairs = [(row.source, cell.target) for row in view.rows for cell in row.cells]
    return _significant(sample, baseline, view.metric, {p: (view.attack, [p]) for p in pairs})


def _significant(
    sample: Resampled,
    baseline: str,
    metric: str,
    attacked: Mapping[Key, tuple[str, Sequence[Pair]]],
) -> set[Key]:
    """Return the keys whose difference to the baseline Holm's correction finds beyond noise.

    Args:
        sample: The resampled images.
        baseline: The attack to subtract.
        metric: A metric of ``Results.matrix``.
        attacked: An attack and its pairs by key; missing cells are none beyond noise.
    """
    p_values = {}
    for key, (attack, pairs) in attacked.items():
        try:
            p_values[key] = sample.difference(attack, baseline, pairs, metric).p
        except KeyError:
            continue
    rejected = holm([*p_values.values()])
    return {key for key, beyond in zip(p_values, rejected, strict=True) if beyond}


def leaderboard(results: Results, metric: str) -> PaperTable:
    """Return a row per attack: the means per group of pairs, the perturbation's size, the cost.

    Args:
        results: The results.
        metric: A metric of ``Results.matrix``.
    """
    sample, baseline = Resampled(results), baseline_of(results)
    cells = _Cells(results, metric, sample)
    pairs = {group: pairs_of(results, group) for group in PAIR_GROUPS if _has(results, group)}
    attacks = main_attacks(results)
    attacked = {
        (attack, group): (attack, members)
        for attack in attacks
        for group, members in pairs.items()
        if attack != baseline
    }
    bold = _significant(sample, baseline, metric, attacked) if baseline is not None else set()

    def row(attack: str) -> PaperRow:
        view = attack_summary(results, attack)
        means = [
            cells.mean(attack, members, (attack, group) in bold) for group, members in pairs.items()
        ]
        more = (f"{view.rms:.2f}", f"{view.forward_equivalents:.1f}")
        numbers = [PaperCell(text if view.stored else MISSING) for text in more]
        norms = [PaperCell(_norm(value)) for value in (view.norm, view.reached)]
        return PaperRow(attack, (*means, *(norms if seeks else ()), *numbers))

    seeks = any(not math.isnan(attack_summary(results, attack).norm) for attack in attacks)
    heads = (*(("norm", "reached") if seeks else ()), "RMS", "cost")
    top: list[PaperRow] = []
    if METRICS.find(metric).of_margins is not None:
        clean = results.clean(metric)
        means = [float(np.mean([clean[t] for _, t in members])) for members in pairs.values()]
        shown = [PaperCell(_number(value), value=value) for value in means]
        top = [PaperRow("clean", (*shown, *(PaperCell() for _ in heads)))]
    notes = ["± half of the 95 % interval."]
    if baseline is not None:
        notes.append(f"Bold: the difference to {baseline} is beyond noise.")
    notes.append(f"{NORM_NOTE if seeks else ''}{SIZE_NOTE}")
    return PaperTable(
        label=results.name,
        caption=f"{results.name}: mean {_metric_words(results, metric)} on {images_of(results)}.",
        head=("attack", *(COLUMN_HEADS[group] for group in pairs), *heads),
        sections=tuple(tuple(part) for part in (top, [row(a) for a in attacks]) if part),
        notes=(*notes, *_ratio_notes(results, metric, attacks), *sample.notes),
        shading=shading_of(results, metric),
    )


def _ratio_notes(results: Results, metric: str, attacks: Sequence[str]) -> list[str]:
    """Return which white-box attacks divide the ratios shown; nothing for other metrics."""
    return denominators(results, attacks) if metric == "ratio" else []


def comparison_tables(comparison: Comparison) -> list[PaperTable]:
    """Return the differences of each pair of attacks, with means per source and per target.

    Args:
        comparison: The comparison.

    Returns:
        A table per pair of attacks. Differences in bold are beyond noise.
    """
    run = comparison.b
    about = f"{meaning(comparison)}; {len(run.image_ids)} images of {run.manifest.dataset}."
    return [
        PaperTable(
            label=f"{run.name} {pair_title(pair)}",
            caption=f"{pair_title(pair)}: {about}",
            head=("source", *(" ".join(name.split()) for name in grid.columns)),
            sections=_grid_sections(grid),
            notes=(
                f"{WHITE_BOX} ± half of the 95 % interval. Bold: beyond noise.",
                *(f"{line}." for line in attack_lines(comparison, pair)),
                comparison.verdict(pair[1]),
            ),
        )
        for pair in comparison.attacks
        for grid in [lay_out(comparison, pair[1])]
    ]


def _grid_sections(grid: Grid) -> tuple[tuple[PaperRow, ...], ...]:
    """Return the cells of a comparison, then the means per target."""

    def cell(row: Any) -> PaperCell:
        if row is None:
            return PaperCell()
        known = not math.isnan(row["low"])
        return PaperCell(
            text=signed_number(row["difference"], 2),
            half=f"{(row['high'] - row['low']) / 2:.2f}" if known else "",
            bold=bool(row["beyond_noise"]),
            white_box=row["group"] == "diagonal",
        )

    rows = [
        PaperRow(
            " ".join(name.split()),
            tuple(cell(grid.values.get((line, column))) for column in range(len(grid.columns))),
        )
        for line, name in enumerate(grid.lines)
    ]
    cells = len(rows) - grid.mean_lines
    return tuple(tuple(part) for part in (rows[:cells], rows[cells:]) if part)


def study_table(result: StudyResult) -> PaperTable:
    """Return the standing of each claim that a study tests, with the reason.

    Args:
        result: The results of a study.

    Returns:
        A row per claim; no row, and a note, if all images share one schedule group.
    """
    facts = result.numbers.facts
    judged = [] if facts.one_schedule else result.study.verdicts(result.numbers)
    rows = tuple(
        PaperRow(v.title, (PaperCell(v.standing), PaperCell(f"{CLAIMS[v.claim]}: {v.reason}")))
        for v in judged
    )
    return PaperTable(
        label=f"{result.results.name}",
        caption=f"{result.study.question} {facts.images} images of {facts.dataset}, "
        f"{facts.effort}.",
        head=("claim", "standing", "reason"),
        sections=(rows,) if rows else (),
        notes=() if rows else (f"{NO_VERDICT}.",),
        wide=0.45,
    )


def width_of(interval: Interval, digits: int) -> str:
    """Return half of an interval's width as text.

    Args:
        interval: The interval; without bounds the text is empty.
        digits: The number of decimals.
    """
    half = (interval.high - interval.low) / 2
    return "" if math.isnan(half) else f"{half:.{digits}f}"


def _norm(value: float) -> str:
    """Return a norm or a share as text; a dash for an attack without one."""
    return MISSING if math.isnan(value) else "∞" if math.isinf(value) else f"{value:.1f}"


def _number(value: float) -> str:
    return MISSING if math.isnan(value) else number(value).replace("-", "−")


def _has(results: Results, group: str) -> bool:
    return group in pair_groups(results)


def _metric_words(results: Results, metric: str) -> str:
    score = score_of(metric, results.headline)
    return f"{score.words or score.label}, {unit(metric)}"


def images_of(results: Results) -> str:
    """Return the number of images and the data set.

    Returns:
        For example ``12 images of camvid``.
    """
    return f"{len(results.image_ids)} images of {results.manifest.dataset}"
