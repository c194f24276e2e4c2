"""Tables of the page: views of the results, with the indices of their estimates."""

from dataclasses import dataclass
from typing import Any

from segtransfer.experiment.task import CLEAN
from segtransfer.reporting.html.estimates import Estimates, percent
from segtransfer.results import PAIR_GROUPS, Results
from segtransfer.results.text import rows
from segtransfer.results.views import (
    AttackSummary,
    HeadlineMean,
    MatrixRow,
    TransferMatrix,
    attack_summary,
    baseline_of,
    main_attacks,
    transfer_group,
    transfer_matrix,
)


@dataclass(frozen=True)
class MatrixEstimates:
    """A transfer matrix, and the estimates of its numbers.

    Attributes:
        view: The matrix.
        clean: Estimates on the clean images, per target.
        rows: A row of the matrix and an estimate per cell.
        headlines: A headline mean and its estimate; None if its group has no pair.
    """

    view: TransferMatrix
    clean: tuple[int, ...]
    rows: tuple[tuple[MatrixRow, tuple[int, ...]], ...]
    headlines: tuple[tuple[HeadlineMean, int | None], ...]


@dataclass(frozen=True)
class AttackEstimates:
    """A row of the table of attacks.

    Attributes:
        view: The attack's perturbation and cost.
        means: Estimates per headline group; None if the group has no pair.
        difference: Estimate of the difference to the baseline; None for iterates.
    """

    view: AttackSummary
    means: tuple[int | None, ...]
    difference: int | None


# Attribute of the view, label and meaning of the columns that are equal for all metrics.
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


def matrices(
    results: Results, estimates: Estimates
) -> tuple[list[MatrixEstimates], list[MatrixEstimates]]:
    """Return the matrices of the main attacks, and of all other iterates and scores."""
    clean = tuple(estimates.clean(target) for target in results.targets)
    main = main_attacks(results)
    others = [attack for attack in results.attacks if attack not in main]
    drawn, more = (
        [_matrix(transfer_matrix(results, attack), estimates, clean) for attack in attacks]
        for attacks in (main, others)
    )
    return drawn, more


def _matrix(view: TransferMatrix, estimates: Estimates, clean: tuple[int, ...]) -> MatrixEstimates:
    def headline(mean: HeadlineMean) -> int | None:
        if mean.group is None:
            return estimates.mean_over_targets(view.attack)
        return estimates.mean(view.attack, mean.group)

    headlines = tuple((mean, headline(mean)) for mean in view.headlines)
    return MatrixEstimates(
        view=view,
        clean=clean,
        rows=tuple(
            (row, tuple(estimates.cell(view.attack, row.source, c.target) for c in row.cells))
            for row in view.rows
        ),
        headlines=headlines,
    )


def summarise(results: Results, estimates: Estimates) -> list[AttackEstimates]:
    """Return a row per attack: perturbation, cost, headline means, difference to the baseline."""
    baseline, group = baseline_of(results), transfer_group(results)
    summaries = []
    for attack in results.attacks:
        view = attack_summary(results, attack)
        other = baseline if attack != baseline and view.final else None
        summaries.append(
            AttackEstimates(
                view=view,
                means=tuple(estimates.mean(attack, g) for g in PAIR_GROUPS),
                difference=None if other is None else estimates.difference(attack, other, group),
            )
        )
    return summaries


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
