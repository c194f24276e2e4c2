"""Designs: whole clusters are drawn, the coarser if nested, all three if crossed."""

from pathlib import Path

import numpy as np
import pytest

from segtransfer.statistics import design_of
from segtransfer.statistics.design import SIZE_POWER, bootstrap_moments, cluster, factor_of
from tests.orchestrator.toy_experiments import run_toy, toy_spec, write_images


def test_resample_draws_whole_clusters_and_their_number() -> None:
    factor = factor_of([7, 7, 3, 3, 3, 9], 400)
    weights = factor.draws @ factor.members
    assert (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 3]).all()
    assert (weights[:, [0, 2, 5]].sum(1) == 3).all()
    assert weights[1:].mean(0) == pytest.approx(np.ones(6), abs=0.2)


def test_sums_equal_the_sums_over_drawn_images() -> None:
    factor = factor_of(["x", "x", "y"], 5)
    sums = factor.sums(np.array([[1.0], [2.0], [10.0]]))[:, 0]
    assert sums[0] == 13
    assert (sums == factor.draws @ [3, 10]).all()


@pytest.mark.parametrize("count", [2, 3, 10, 48])
def test_even_clusters_have_the_classical_share_and_freedom(count: int) -> None:
    factor = factor_of(np.repeat(np.arange(count), 3).tolist(), 2)
    assert factor.captured == (count - 1) / count
    assert factor.freedom == count - 1
    nearly = bootstrap_moments([1000] * (count - 1) + [1001])  # by the formula of uneven clusters
    assert nearly == pytest.approx((factor.captured, factor.freedom), rel=1e-4)


def test_a_single_cluster_has_no_share_and_no_freedom() -> None:
    assert bootstrap_moments([5]) == (0.0, 0.0)


@pytest.mark.parametrize(
    "sizes", [[1, 2], [1, 3, 2, 1, 1, 4], [1, 8, 3, 6, 5, 7, 2, 8, 4, 4], [1, 99]]
)
def test_uneven_clusters_have_the_moments_of_simulated_bootstraps(sizes: list[int]) -> None:
    """The variance over bootstraps is |s - p sum(s)|^2 / N^2 for the sums s of clusters."""
    generator, whole = np.random.default_rng(0), np.array(sizes, float)
    sums = generator.normal(0, whole ** (SIZE_POWER / 2), (200_000, len(sizes)))
    shown = ((sums - whole / whole.sum() * sums.sum(1, keepdims=True)) ** 2).sum(1)
    captured, freedom = bootstrap_moments(sizes)
    assert captured == pytest.approx(shown.mean() / (whole**SIZE_POWER).sum(), rel=0.01)
    assert freedom == pytest.approx(2 * shown.mean() ** 2 / shown.var(), rel=0.03)
    assert 1 - 1e-9 <= freedom < len(sizes)


@pytest.mark.parametrize(
    ("scenes", "draws", "clusters"),
    [
        ("abcdef", "xxyyzz", [3]),  # images within groups: groups
        ("aabbcc", "uvwxyz", [3]),  # draws within sequences: sequences
        ("aabbcc", "xyxyxy", [3, 2, 6]),  # crossed
        ("abcdef", "xxxxxx", [6]),  # one schedule: images
        ("aaaaaa", "xxyyzz", [3]),  # one sequence: groups
        ("aaaaaa", "xxxxxx", [1]),
    ],
)
def test_coarser_cluster_is_drawn_and_crossed_clusters_both(
    scenes: str, draws: str, clusters: list[int]
) -> None:
    factors = cluster(scenes, draws, resamples=3)
    assert [factor.clusters for factor in factors] == clusters
    assert [factor.sign for factor in factors] == ([1, 1, -1] if len(clusters) == 3 else [1])


def test_design_has_notes_on_uncovered_variation(tmp_path: Path) -> None:
    several = design_of([run_toy(tmp_path / "groups", schedule_groups=3)], resamples=3)
    assert several.notes == ()  # six images, each a sequence of its own
    alone = design_of([run_toy(tmp_path / "one", schedule_groups=1)], resamples=3)
    assert alone.notes[0].startswith("All images share one schedule")
    assert [factor.clusters for factor in alone.factors] == [6]


@pytest.mark.parametrize(
    ("videos", "note"),
    [
        ("abcd", "Intervals are computed from 4 images, too few for a reliable estimate"),
        ("aabb", "Images come from 2 videos, so intervals cover more images of the same scenes"),
    ],
)
def test_few_images_without_known_videos_have_a_note_on_images(
    videos: str, note: str, tmp_path: Path
) -> None:
    write_images(tmp_path / "data", count=len(videos))
    for kind in ("images", "labels"):
        for number, video in enumerate(videos):
            path = tmp_path / "data" / kind / f"image-{number}.png"
            path.rename(path.with_name(f"{video}_{number}.png"))
    data = toy_spec(tmp_path)["data"] | ({"sequence": "^(.)_"} if videos == "aabb" else {})
    results = run_toy(tmp_path, data=data)
    assert design_of([results], resamples=3).notes[0].startswith(note)
