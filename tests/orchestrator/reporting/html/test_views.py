"""The page shows the numbers of the views that every other surface draws."""

from dataclasses import replace
from itertools import chain

import pytest

from segtransfer.reporting.html.analysis import analyse
from segtransfer.reporting.html.estimates import metric_choices, tenth
from segtransfer.results import Results
from segtransfer.results.views import attack_summary, transfer_matrix
from segtransfer.statistics import Interval, Resampled
from tests.orchestrator.reporting.html.made_up import made_up

ATTACKS = [{"preset": "noise", "eps": "8/255"}, {"preset": "pgd", "eps": "8/255", "steps": 10}]


@pytest.fixture(scope="module")
def results() -> Results:
    return made_up(ATTACKS, pictures=False)


def test_matrices_and_rows_of_the_page_are_the_views(results: Results) -> None:
    analysis = analyse(results)
    (matrix,) = analysis.matrices
    assert matrix.table.views == (transfer_matrix(results, "pgd"),)
    assert [row.attack for row, _ in matrix.references] == ["noise"]
    assert [row.view for row in analysis.summaries] == [
        attack_summary(results, attack) for attack in results.attacks
    ]


def test_page_values_equal_views_not_resamples(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value on the edge of two tenths is rounded alike on the terminal and on the page."""
    real = Resampled.mean

    def shifted(self: Resampled, *arguments: object, **options: object) -> Interval:
        interval = real(self, *arguments, **options)  # type: ignore[arg-type]
        return replace(interval, value=interval.value + 1)

    monkeypatch.setattr(Resampled, "mean", shifted)
    analysis = analyse(results)
    miou = analysis.intervals["miou"]
    for matrix in analysis.matrices:
        rows = [*matrix.references, *chain(*matrix.sections)]
        shown = [(c.value, n) for row, ns in rows for c, n in zip(row.cells, ns, strict=True)]
        ((_, headlines),) = matrix.headlines
        shown += [(mean.value, n) for mean, n in headlines if n is not None]
        for value, place in shown:
            interval = miou[place]
            assert interval is not None
            assert interval[0] == tenth(value)
    for metric in metric_choices("miou"):
        for row in analysis.summaries:
            means = results.headlines(row.view.attack, metric)
            for group, place in row.means.items():
                interval = None if place is None else analysis.intervals[metric][place]
                assert interval is None or interval[0] == tenth(means[group])
