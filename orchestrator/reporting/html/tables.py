"""Tables of the page: views of the results, with the indices of their estimates."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segtransfer.experiment.task import CLEAN
from segtransfer.reporting.html.estimates import Estimates, percent
from segtransfer.reporting.matrix_tables import MatrixTable, TableRow, matrix_tables
from segtransfer.results import Results
from segtransfer.results.text import rows
from segtransfer.results.views import (
    AttackSummary,
    HeadlineMean,
    TransferMatrix,
    attack_summary,
    baseline_of,
    main_attacks,
    shown_groups,
    transfer_group,
)
from segtransfer.tasks.appearance import SAMPLED

Numbers = tuple[int, ...]


@dataclass(frozen=True)
class MatrixEstimates:
    """A table of matrices, and the index of the estimate of each number.

    Attributes:
        table: The table.
        clean: Estimates on the clean images, per target.
        references: The rows of attacks without a source model, with an estimate per cell.
        sections: The other rows, with an estimate per cell.
        headlines: Per matrix, its headline means and their estimates.
    """

    table: MatrixTable
    clean: Numbers
    references: tuple[tuple[TableRow, Numbers], ...]
    sections: tuple[tuple[tuple[TableRow, Numbers], ...], ...]
    headlines: tuple[tuple[TransferMatrix, tuple[tuple[HeadlineMean, int | None], ...]], ...]


@dataclass(frozen=True)
class AttackEstimates:
    """A row of the table of attacks.

    Attributes:
        view: The attack's perturbation and cost.
        means: Estimates by headline group shown; None if the group has no pair.
        difference: Estimate of the difference to the baseline; None for iterates.
    """

    view: AttackSummary
    means: Mapping[str, int | None]
    difference: int | None


# Attribute of the view, label and meaning of the columns that are equal for all metrics.
FIXED_COLUMNS = (
    ("rms", "RMS", "root mean square of the perturbation, in 8-bit levels"),
    ("mean_abs", "Mean / eps", "mean absolute perturbation over eps"),
    ("at_bound", "At bound", "share of values at the eps bound, percent"),
    ("psnr", "PSNR", "peak signal-to-noise ratio against the clean image, dB"),
    (
        "ssim",
        "SSIM",
        "structural similarity with the clean image, mean over the first "
        f"{SAMPLED} images of each shard; – in results of earlier versions",
    ),
    (
        "forward_equivalents",
        "Cost",
        "forward equivalents per image: pixels seen over the pixels of a forward at the image's "
        "own size",
    ),
    ("seconds", "Seconds", "inside models, over all sources and images"),
)

# Columns of a page with an attack that seeks the smallest norm.
NORM_COLUMNS = (
    (
        "norm",
        "Norm",
        "median over images of the L-infinity norm at 99 % fooled pixels of the source, in 8-bit "
        "levels; an image that is not reached has an infinite norm",
    ),
    ("reached", "Reached", "share of images with 99 % fooled pixels, percent"),
)


def fixed_columns(summaries: Sequence[AttackEstimates]) -> tuple[tuple[str, str, str], ...]:
    """Return the columns that are equal for all metrics: attribute, label and meaning.

    Args:
        summaries: The rows of the table.
    """
    seeks = any(not math.isnan(row.view.norm) for row in summaries)
    return (*NORM_COLUMNS, *FIXED_COLUMNS) if seeks else FIXED_COLUMNS


def matrices(
    results: Results, estimates: Estimates
) -> tuple[list[MatrixEstimates], list[MatrixEstimates]]:
    """Return the tables of the main attacks, and of all other iterates and scores.

    Args:
        results: The experiment.
        estimates: The registry in which every number is registered.

    Returns:
        The tables of the main attacks, and the tables of others, each below the attacks without a
        source.
    """
    clean = {target: estimates.clean(target) for target in results.targets}
    main = main_attacks(results)
    others = [attack for attack in results.attacks if attack not in main]

    def estimated(attacks: list[str]) -> list[MatrixEstimates]:
        return [_estimated(table, estimates, clean) for table in matrix_tables(results, attacks)]

    references = [attack for attack in main if not results.needs_source(attack)]
    return estimated(main), estimated([*references, *others]) if others else []


def _estimated(
    table: MatrixTable, estimates: Estimates, clean: Mapping[str, int]
) -> MatrixEstimates:
    """Register every number of a table."""

    def row(shown: TableRow) -> tuple[TableRow, Numbers]:
        cells = (estimates.cell(shown.attack, shown.source, c.target) for c in shown.cells)
        return shown, tuple(cells)

    def means(view: TransferMatrix) -> tuple[tuple[HeadlineMean, int | None], ...]:
        return tuple(
            (mean, estimates.mean(view.attack, mean.group) if mean.group else None)
            for mean in view.headlines
        )

    return MatrixEstimates(
        table=table,
        clean=tuple(clean[target] for target in table.targets),
        references=tuple(map(row, table.references)),
        sections=tuple(tuple(map(row, section)) for section in table.sections),
        headlines=tuple((view, means(view)) for view in table.views),
    )


def summarise(results: Results, estimates: Estimates) -> list[AttackEstimates]:
    """Return a row per attack: perturbation, cost, headline means, difference to the baseline.

    Args:
        results: The experiment.
        estimates: The registry in which every number is registered.

    Returns:
        A row per variant of an attack, in the order of the experiment.
    """
    baseline, group = baseline_of(results), transfer_group(results)
    summaries = []
    for attack in results.attacks:
        view = attack_summary(results, attack)
        other = baseline if attack != baseline and view.final else None
        summaries.append(
            AttackEstimates(
                view=view,
                means={g: estimates.mean(attack, g) for g in shown_groups(results)},
                difference=None if other is None else estimates.difference(attack, other, group),
            )
        )
    return summaries


def class_values(results: Results) -> dict[str, Any]:
    """Return IoU, or a classifier's accuracy, per class in percent.

    Returns:
        ``clean`` per target and class, ``attacks`` per main attack, row, target and class. None
        means a missing cell or a class without pixels.
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
        return [percent(value) for value in results.class_scores(attack, source, target)]
    except KeyError:
        return None
