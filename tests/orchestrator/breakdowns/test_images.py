"""Outlier images: robust z by hand, the images above and below, and no outlier of equal drops."""

from pathlib import Path

import numpy as np
import pytest

from segtransfer.breakdowns.images import robust_z
from tests.orchestrator.breakdowns.made import run_levels

WRONG_ROWS = [2, 2, 3, 1, 2, 8, 0, 3, 1, 2, 2, 3, 2]  # of ten rows per image
VOID = 255


def test_robust_z_is_the_distance_to_the_median_over_the_scaled_deviation() -> None:
    values = np.array([1.0, 2, 3, 4, 100])
    assert robust_z(values) == pytest.approx((values - 3) / 1.4826)
    assert not robust_z(np.array([5.0, 5, 5, 9])).any()


def label_of(number: int) -> np.ndarray:
    label = np.ones((11, 6), np.uint8)
    label[10] = VOID
    return label


def wrong_rows(number: int, label: np.ndarray) -> np.ndarray:
    predicted = np.ones_like(label)
    predicted[: WRONG_ROWS[number]] = 0
    return predicted


def test_outliers_are_the_images_farthest_above_and_below_the_median(tmp_path: Path) -> None:
    results = run_levels(tmp_path, [label_of(n) for n in range(len(WRONG_ROWS))], wrong_rows)
    frame = results.breakdown("image")
    above, below = frame[frame["z"] > 0], frame[frame["z"] < 0]
    assert list(above["drop"]) == pytest.approx([80, 30, 30, 30])
    assert above["part"].iloc[0] == "image-05"
    assert list(below["drop"]) == pytest.approx([0, 10, 10])
    assert below["part"].iloc[0] == "image-06"
    # Median 20 points; of the distances, 6 are 0, 5 are 10: the median distance is 10.
    assert above["z"].iloc[0] == pytest.approx(60 / 14.826)
    assert below["z"].iloc[0] == pytest.approx(-20 / 14.826)
    assert set(frame["pixels"]) == {60}
    assert set(frame["clean"]) == {100}


def test_images_of_equal_drops_have_no_outlier_and_a_note(tmp_path: Path) -> None:
    labels = [label_of(n) for n in range(5)]
    labels[4][:] = VOID
    results = run_levels(tmp_path, labels, lambda number, label: np.zeros_like(label))
    frame = results.breakdown("image")
    assert frame.empty
    assert any("more than half of the images have the same drop" in n for n in frame.attrs["notes"])
    assert any(note.startswith("1 images without labelled") for note in frame.attrs["notes"])
