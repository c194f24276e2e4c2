"""Analysis of an experiment for its page: everything that depends on the chosen metric."""

from dataclasses import dataclass

from segtransfer.reporting.html import tables
from segtransfer.reporting.html.estimates import Estimates, IntervalsByMetric
from segtransfer.results import Results
from segtransfer.statistics import Resampled


@dataclass(frozen=True)
class Analysis:
    """Tables of estimates, and the estimates' values.

    Attributes:
        matrices: Transfer matrices of the main attacks.
        other_matrices: Transfer matrices of other iterates and scores.
        summaries: A row per attack, main or not.
        main_attacks: Names of the main attacks.
        intervals: Values of all estimates, per metric.
        group: The headline group that stands for transfer.
        baseline: The attack that others are compared with, or None.
        notes: Sentences about the limits of the intervals.
    """

    matrices: list[tables.MatrixView]
    other_matrices: list[tables.MatrixView]
    summaries: list[tables.AttackSummary]
    main_attacks: list[str]
    intervals: IntervalsByMetric
    group: str
    baseline: str | None
    notes: tuple[str, ...]

    @property
    def partial(self) -> list[str]:
        """Names of attacks with missing cells."""
        return [summary.attack for summary in self.summaries if summary.partial]


def analyse(results: Results) -> Analysis:
    """Estimate every number of the page, for every metric, with its interval."""
    sample = Resampled(results)
    estimates = Estimates(results, sample)
    matrices, others = tables.matrices(results, estimates)
    summaries = tables.summarise(results, estimates)
    return Analysis(
        matrices=matrices,
        other_matrices=others,
        summaries=summaries,
        main_attacks=tables.main_attacks(results),
        intervals=estimates.intervals(),
        group=tables.transfer_group(results),
        baseline=tables.baseline_of(results),
        notes=sample.notes,
    )
