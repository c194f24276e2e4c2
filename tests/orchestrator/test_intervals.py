"""Intervals: the plain mean in row 0, clusters drawn whole, pairs that share their resamples."""

from pathlib import Path

import numpy as np
import pytest

from orchestrator.intervals import image_weights, mean_miou, paired_difference, pairs_of
from orchestrator.results import Results
from tasks.metrics import miou
from tests.orchestrator.toy_experiments import run_toy


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    attacks = [
        {"preset": "noise", "eps": "8/255"},
        {"preset": "pgd", "eps": "8/255", "steps": 3},
        {"preset": "pgd", "name": "again", "eps": "8/255", "steps": 3},
    ]
    return run_toy(tmp_path_factory.mktemp("intervals"), attacks=attacks, schedule_groups=3)


def test_clusters_are_drawn_whole_and_as_many_as_there_are() -> None:
    weights = image_weights([7, 7, 3, 3, 3, 9], 200, seed=0)
    assert (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 3]).all()
    assert (weights[:, [0, 2, 5]].sum(1) == 3).all()
    assert weights[1:].mean(0) == pytest.approx(np.ones(6), abs=0.2)


def test_the_plain_mean_is_that_of_the_matrix(results: Results) -> None:
    weights = image_weights(range(len(results.image_ids)), 1, seed=0)
    found = mean_miou(results, "pgd", pairs_of(results, "diagonal"), weights)
    assert found[0] == pytest.approx(results.headlines("pgd")["diagonal"])


def test_a_weight_of_two_counts_an_image_twice(results: Results) -> None:
    weights = np.ones((1, len(results.image_ids)))
    weights[0, 0] = 2
    expected = []
    for name in results.sources:
        confusions = results.confusions["pgd", name, name]
        expected.append(miou(confusions.sum(0) + confusions[0]))
    assert mean_miou(results, "pgd", pairs_of(results, "diagonal"), weights)[0] == pytest.approx(
        np.mean(expected)
    )


def test_an_attack_differs_by_exactly_nothing_from_itself(results: Results) -> None:
    found = paired_difference(results, "pgd", "again", pairs_of(results, "diagonal"))
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_pgd_is_below_noise_with_an_interval_around_the_difference(results: Results) -> None:
    found = paired_difference(results, "pgd", "noise", pairs_of(results, "diagonal"))
    pgd, noise = (results.headlines(a)["diagonal"] for a in ("pgd", "noise"))
    assert found.value == pytest.approx(pgd - noise)
    assert found.low <= found.value <= found.high < 0


def test_a_group_without_a_cell_is_refused(tmp_path: Path, results: Results) -> None:
    with pytest.raises(ValueError, match="no pair of source and target"):
        paired_difference(results, "pgd", "noise", pairs_of(results, "cross_backbone"))


def test_an_interval_that_covers_more_is_wider(results: Results) -> None:
    pairs = pairs_of(results, "diagonal")
    half = paired_difference(results, "pgd", "noise", pairs, level=0.5)
    most = paired_difference(results, "pgd", "noise", pairs, level=0.99)
    assert most.value == half.value
    assert most.low < half.low < half.high < most.high
