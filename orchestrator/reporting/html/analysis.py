"""Analysis of an experiment for its page: everything that depends on the chosen metric."""

from dataclasses import dataclass

from segtransfer.reporting.html import tables
from segtransfer.reporting.html.estimates import Estimates, IntervalsByMetric
from segtransfer.results import Results
from segtransfer.results.views import baseline_of, main_attacks, transfer_group
from segtransfer.statistics import Resampled, holm, pairs_of


@dataclass(frozen=True)
class Analysis:
    """Tables of estimates, and the estimates' values.

    Attributes:
        matrices: Transfer matrices of the main attacks.
        other_matrices: Transfer matrices of other iterates and scores.
        summaries: A row per attack, main or not.
        main_attacks: Names of the main attacks.
        intervals: Values of all estimates, per metric.
        group: The headline group over which transfer is measured.
        baseline: The attack to compare others with, or None.
        least: The attacks within noise of the least mean of the headline metric over the
            group, the least first.
        notes: Sentences about the limits of the intervals.
    """

    matrices: list[tables.MatrixEstimates]
    other_matrices: list[tables.MatrixEstimates]
    summaries: list[tables.AttackEstimates]
    main_attacks: list[str]
    intervals: IntervalsByMetric
    group: str
    baseline: str | None
    least: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def partial(self) -> list[str]:
        """Return the names of attacks with missing cells."""
        return [row.view.attack for row in self.summaries if row.view.partial]


def analyse(results: Results) -> Analysis:
    """Estimate every number of the page, for every metric, with its interval.

    Args:
        results: The experiment.

    Returns:
        The analysis. Intervals come from one set of resampled images, so differences are paired.
    """
    sample = Resampled(results)
    estimates = Estimates(results, sample)
    matrices, others = tables.matrices(results, estimates)
    summaries = tables.summarise(results, estimates)
    return Analysis(
        matrices=matrices,
        other_matrices=others,
        summaries=summaries,
        main_attacks=main_attacks(results),
        intervals=estimates.intervals(),
        group=transfer_group(results),
        baseline=baseline_of(results),
        least=_least(results, sample),
        notes=(*sample.notes, *estimates.notes),
    )


def _least(results: Results, sample: Resampled) -> tuple[str, ...]:
    """Return the main attacks within noise of the least mean headline metric.

    Holm's correction covers the differences to the least. Attacks without a source, or with a
    missing cell, are left out.
    """
    pairs = pairs_of(results, transfer_group(results))
    means = {
        attack: sample.mean(attack, pairs).value
        for attack in main_attacks(results)
        if results.needs_source(attack) and len(set(results.coverage(attack))) == 1
    }
    if not means:
        return ()
    first = min(means, key=lambda attack: means[attack])
    others = [attack for attack in means if attack != first]
    beyond = holm([sample.difference(attack, first, pairs).p for attack in others])
    return (first, *(a for a, is_beyond in zip(others, beyond, strict=True) if not is_beyond))
