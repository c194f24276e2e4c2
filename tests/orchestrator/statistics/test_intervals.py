"""Intervals have their nominal coverage in simulations; Holm's procedure by hand."""

import math

import numpy as np
import pytest

from segtransfer.statistics import Design, holm
from segtransfer.statistics.design import cluster, factor_of
from segtransfer.statistics.intervals import interval_of
from segtransfer.statistics.tallies import score

CLASSES = 4
TRIALS, AT_ONCE = 2000, 100


def pixels(generator: np.random.Generator, right: np.ndarray) -> np.ndarray:
    """Tallies ... x (3K + 2) of images with 4000 pixels of every class, of which a share ``right``
    is recognised and the rest taken for the next class."""
    hit = generator.binomial(4000, np.clip(right, 0, 1)[..., None], (*right.shape, CLASSES))
    labelled = np.full_like(hit, 4000)
    predicted = hit + np.roll(labelled - hit, 1, axis=-1)
    return np.concatenate([hit, labelled, predicted, 0 * hit[..., :2]], axis=-1).astype(float)


LAYOUTS = {  # scene and draw of each image
    "240 images in 12 groups": (np.arange(240), np.repeat(np.arange(12), 20)),
    "24 scenes x 12 draws": (np.repeat(np.arange(24), 12), np.tile(np.arange(12), 24)),
    # As the hashes of few images fall: CamVid's first sixteen in eight groups.
    "16 images in 8 groups": (np.arange(16), np.repeat(np.arange(8), [1, 4, 4, 2, 1, 1, 1, 2])),
}


def coverage(layout: str, scene: float, draw: float, noise: float) -> float:
    """How often the interval holds the truth.

    ``scene``, ``draw`` and ``noise`` are standard deviations of the share of right pixels.
    """
    scenes, draws = LAYOUTS[layout]
    design = Design(cluster(list(scenes), list(draws), resamples=300))
    truth = 100 * 0.6 / (2 - 0.6)  # IoU of a class that is right six times in ten
    generator = np.random.default_rng(5)
    held = 0
    for _ in range(TRIALS // AT_ONCE):
        right = 0.6 + generator.normal(0, scene, (scenes.max() + 1, AT_ONCE))[scenes]
        right += generator.normal(0, draw, (draws.max() + 1, AT_ONCE))[draws]
        counts = pixels(generator, right + generator.normal(0, noise, right.shape))
        shape = (-1, *counts.shape[1:])
        values = [
            score(factor.sums(counts.reshape(len(counts), -1)).reshape(shape), "miou")
            for factor in design.factors
        ]
        for trial in range(AT_ONCE):
            found = interval_of(design, [value[:, trial] for value in values])
            held += found.low <= truth <= found.high
    return held / TRIALS


@pytest.mark.parametrize(
    ("layout", "scene", "draw", "noise"),
    [
        ("240 images in 12 groups", 0.0, 0.05, 0.05),  # groups differ, and images
        ("240 images in 12 groups", 0.0, 0.0, 0.1),  # groups do not
        ("16 images in 8 groups", 0.0, 0.05, 0.05),
        ("16 images in 8 groups", 0.0, 0.0, 0.1),
        ("24 scenes x 12 draws", 0.05, 0.05, 0.05),
        ("24 scenes x 12 draws", 0.05, 0.0, 0.1),
        ("24 scenes x 12 draws", 0.0, 0.05, 0.1),
    ],
)
def test_intervals_of_a_mean_over_classes_have_their_coverage(
    layout: str, scene: float, draw: float, noise: float
) -> None:
    assert 0.93 <= coverage(layout, scene, draw, noise) <= 0.97


def test_an_interval_is_the_t_interval_of_the_cluster_means() -> None:
    """Four clusters of one image with values 1, 2, 4, 9: mean 4, standard error sqrt(38/3) / 2."""
    factor = factor_of(range(4), 40_000)
    counts = np.array([[1.0], [2.0], [4.0], [9.0]])
    means = factor.sums(counts)[:, 0] / 4
    found = interval_of(Design((factor,)), [means])
    half = 3.1824 * math.sqrt(38 / 3) / 2
    assert found.value == 4
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.02)
    assert found.p == pytest.approx(0.11, abs=0.01)  # t = 2.248 at 3 degrees of freedom


def test_single_cluster_has_no_interval() -> None:
    factor = factor_of("aaa", 10)
    found = interval_of(Design((factor,)), [np.full(11, 3.0)])
    assert found.value == 3
    assert math.isnan(found.low)
    assert not found.beyond_noise


def test_holm_compares_the_smallest_with_the_strictest() -> None:
    # 0.01 <= .05/4, 0.014 <= .05/3, then 0.03 > .05/2 stops it, 0.04 though <= .05.
    assert holm([0.03, 0.01, 0.04, 0.014]) == [False, True, False, True]
    assert holm([]) == []
    assert holm([math.nan, 0.001]) == [False, True]
