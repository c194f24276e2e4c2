"""Simultaneous intervals: closed forms, the family-wise error in simulations, and ranks."""

import numpy as np
import pytest
from scipy import stats

from segtransfer.statistics import Design, Interval
from segtransfer.statistics.design import cluster, factor_of
from segtransfer.statistics.intervals import interval_of
from segtransfer.statistics.simultaneous import (
    all_differences,
    detectable_differences,
    level_of,
    pair_level,
    ranks,
)

TRIALS = 400
LAYOUTS = {  # scene and draw of each image
    "48 images in 10 groups": (
        np.arange(48),
        np.repeat(np.arange(10), [3, 6, 5, 5, 4, 4, 6, 5, 4, 6]),
    ),
    "12 scenes x 8 draws": (np.repeat(np.arange(12), 8), np.tile(np.arange(8), 12)),
}


def means(design: Design, scores: np.ndarray) -> dict[str, list[np.ndarray]]:
    """The mean of each column of N x k scores on every resample, named a0, a1, ..."""
    ones = np.ones(len(scores))
    return {
        f"a{column}": [factor.sums(values) / factor.sums(ones) for factor in design.factors]
        for column, values in enumerate(scores.T)
    }


def drawn(generator: np.random.Generator, layout: str, spread: np.ndarray) -> np.ndarray:
    """Scores of equal attacks: images differ alike for all, draws and noise by attack."""
    scenes, draws = LAYOUTS[layout]
    shared = generator.normal(0, 3, (scenes.max() + 1, 1))[scenes]
    schedules = spread * generator.normal(0, 1, (draws.max() + 1, len(spread)))[draws]
    return shared + schedules + spread * generator.normal(0, 1, (len(scenes), len(spread)))


def design_of_layout(layout: str, resamples: int = 600) -> Design:
    scenes, draws = LAYOUTS[layout]
    return Design(cluster(list(scenes), list(draws), resamples=resamples))


def test_two_means_have_the_interval_of_their_difference() -> None:
    generator = np.random.default_rng(1)
    design = Design((factor_of(range(20), 500),))
    values = means(design, generator.normal(0, 1, (20, 2)))
    (found,) = all_differences(design, values).values()
    difference = [a - b for a, b in zip(values["a0"], values["a1"], strict=True)]
    assert pair_level(2, 20) == 0.95
    assert found == interval_of(design, difference)


@pytest.mark.parametrize("count", [3, 6, 15])
def test_many_clusters_give_the_studentised_range(count: int) -> None:
    """With many clusters each variance is known, which is Tukey's case."""
    critical = stats.t.ppf((1 + pair_level(count, 200)) / 2, 199)
    tukey = stats.studentized_range.ppf(0.95, count, 1e6) / 2**0.5
    assert critical == pytest.approx(tukey, rel=0.03)
    assert critical > tukey


@pytest.mark.parametrize("clusters", [4, 8, 16])
@pytest.mark.parametrize("count", [3, 10])
def test_level_lies_between_a_single_pair_and_bonferroni(count: int, clusters: int) -> None:
    pairs = count * (count - 1) / 2
    assert 0.05 / pairs * 0.98 <= 1 - pair_level(count, clusters) < 0.05


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("spread", [[1.0] * 6, [0.1, 0.1, 1, 1, 1, 3]], ids=["equal", "unequal"])
def test_family_wise_error_of_equal_attacks_is_near_5_percent(
    layout: str, spread: list[float]
) -> None:
    generator, design = np.random.default_rng(2), design_of_layout(layout)
    wrong = 0
    for _ in range(TRIALS):
        values = means(design, drawn(generator, layout, np.array(spread)))
        found = all_differences(design, values)
        wrong += set(ranks([*values], found).values()) != {1}
    assert wrong / TRIALS < 0.08  # three standard errors above 5 %


def test_known_gap_is_found_and_ties_share_a_rank() -> None:
    layout = "48 images in 10 groups"
    scores = drawn(np.random.default_rng(3), layout, np.ones(4))
    design = design_of_layout(layout)
    gap = 4 * detectable_differences(design, all_differences(design, means(design, scores))).max()
    values = means(design, scores - gap * np.array([0, 1, 0, 1]))
    found = ranks([*values], all_differences(design, values))
    assert found == {"a0": 1, "a1": 3, "a2": 1, "a3": 3}


def test_rank_counts_better_attacks_also_without_transitivity() -> None:
    clear, unclear = Interval(3, 1, 5), Interval(1.5, -1, 4)
    differences = {("a", "b"): unclear, ("b", "c"): unclear, ("a", "c"): clear}
    assert ranks(["a", "b", "c"], differences) == {"a": 1, "b": 1, "c": 2}


def test_ranks_and_intervals_do_not_depend_on_the_order_of_attacks() -> None:
    layout = "12 scenes x 8 draws"
    scores = drawn(np.random.default_rng(4), layout, np.ones(4)) - [0, 9, 3, 0]
    design = design_of_layout(layout)
    values = means(design, scores)
    turned = dict(reversed(values.items()))
    one, other = (all_differences(design, v) for v in (values, turned))
    assert ranks([*values], one) == ranks([*turned], other)
    for (a, b), found in one.items():
        assert (other[b, a].low, other[b, a].high) == pytest.approx((-found.high, -found.low))


def test_smallest_detectable_difference_is_found_four_times_in_five() -> None:
    layout = "48 images in 10 groups"
    generator, design = np.random.default_rng(5), design_of_layout(layout)
    sizes = []
    for _ in range(100):
        values = means(design, drawn(generator, layout, np.ones(3)))
        sizes += [*detectable_differences(design, all_differences(design, values))]
    gap, seen = np.mean(sizes), 0
    for _ in range(TRIALS):
        scores = drawn(generator, layout, np.ones(3)) + np.array([gap, 0, 0])
        seen += all_differences(design, means(design, scores))["a0", "a1"].beyond_noise
    assert seen / TRIALS == pytest.approx(0.8, abs=0.08)


@pytest.mark.parametrize("one_schedule", [True, False])
def test_a_single_schedule_or_cluster_tells_no_attacks_apart(one_schedule: bool) -> None:
    images = range(20) if one_schedule else [0] * 20
    design = Design((factor_of(images, 200),), one_schedule=one_schedule)
    values = means(design, np.arange(20)[:, None] + np.array([0.0, 50.0, 100.0]))
    found = all_differences(design, values)
    assert set(ranks([*values], found).values()) == {1}
    assert not len(detectable_differences(design, found))


def test_fewer_than_two_means_or_clusters_leave_the_level() -> None:
    assert level_of(Design((factor_of([0, 0], 10),)), 5) == 0.95
    assert level_of(Design((factor_of([0, 1], 10),)), 1) == 0.95
