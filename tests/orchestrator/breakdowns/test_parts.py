"""Breakdowns by class, size and boundary, against counts by hand on chosen predictions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from segtransfer.breakdowns.boundaries import near_boundary
from segtransfer.results import Results
from tests.orchestrator.breakdowns.made import run_levels

VOID = 255
IMAGES = 8


def halves(number: int) -> np.ndarray:
    """Return a label 12 x 16: road at the left, sky at the right, and a square of tree in the
    first four images; the last row is ignored."""
    label = np.zeros((12, 16), np.uint8)
    label[:, 8:] = 1
    if number < 4:
        label[:2, :2] = 2
    label[-1] = VOID
    return label


def fooled(number: int, label: np.ndarray) -> np.ndarray:
    """Predict road on the 3 x 11 pixels of sky beside the boundary, else the label."""
    predicted = np.where(label == VOID, 0, label)
    predicted[:, 8:11] = 0
    return predicted


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("halves")
    return run_levels(folder, [halves(number) for number in range(IMAGES)], fooled)


def by_part(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index("part")


def test_class_iou_of_attacked_images_is_that_of_a_count_by_hand(results: Results) -> None:
    frame = by_part(results.breakdown("class"))
    road, tree, sky = IMAGES * 88 - 4 * 4, 4 * 4, IMAGES * 88
    assert frame["pixels"].to_dict() == {"road": road, "sky": sky, "tree": tree}
    assert frame["images"].to_dict() == {"road": 8, "sky": 8, "tree": 4}
    assert list(frame["clean"]) == [100, 100, 100]
    turned = IMAGES * 33
    assert frame.loc["road", "attacked"] == pytest.approx(100 * road / (road + turned))
    assert frame.loc["sky", "attacked"] == pytest.approx(100 * (sky - turned) / sky)
    assert frame.loc["tree", "drop"] == 0
    assert frame["drop"].to_dict() == pytest.approx((frame["clean"] - frame["attacked"]).to_dict())


def test_interval_of_equal_images_has_no_width_and_few_images_have_none(results: Results) -> None:
    frame = by_part(results.breakdown("class"))
    assert frame.loc["sky", "drop_low"] == pytest.approx(37.5)
    assert frame.loc["sky", "drop_high"] == pytest.approx(37.5)
    assert frame.loc["road", "drop_low"] < frame.loc["road", "drop"]  # tree in some
    assert np.isnan(
        frame.loc["tree", ["clean_low", "attacked_low", "drop_high"]].astype(float)
    ).all()
    assert any("fewer than 5 images" in note for note in frame.attrs["notes"])


def test_boundary_has_three_pixels_on_each_side_and_all_of_the_fooled_pixels(
    results: Results,
) -> None:
    frame = by_part(results.breakdown("boundary"))
    near = [near_boundary(halves(number)) for number in range(IMAGES)]
    pixels = sum(int(mask.sum()) for mask in near)
    assert frame["pixels"].to_dict() == {
        "boundary": pixels,
        "interior": IMAGES * 176 - pixels,
    }
    assert frame.loc["boundary", "drop"] == pytest.approx(100 * IMAGES * 33 / pixels)
    assert frame.loc["interior", "drop"] == 0


def test_size_has_the_recall_of_each_quarter_mean_over_classes(results: Results) -> None:
    frame = by_part(results.breakdown("size"))
    # Road: 4 objects of 84 and 4 of 88 pixels, cut at 84, 86 and 88. Sky and tree: equal areas.
    assert frame["pixels"].to_dict() == {"smallest": 4 * 84 + 8 * 88 + 4 * 4, "large": 4 * 88}
    assert frame.loc["large", "attacked"] == 100
    assert frame.loc["smallest", "drop"] == pytest.approx(37.5 / 3)
    assert any("Median areas" in note for note in frame.attrs["notes"])


def test_straight_edge_has_a_boundary_of_three_pixels_on_each_side() -> None:
    label = np.zeros((9, 14), np.uint8)
    label[:, 7:] = 3
    expected = np.zeros(label.shape, bool)
    expected[:, 4:10] = True
    assert (near_boundary(label) == expected).all()


def test_single_pixel_has_a_boundary_of_a_disc() -> None:
    label = np.full((11, 11), 7, np.uint8)
    label[5, 5] = 0
    y, x = np.mgrid[:11, :11]
    assert (near_boundary(label) == ((y - 5) ** 2 + (x - 5) ** 2 <= 9)).all()


def test_border_to_ignored_pixels_is_no_boundary() -> None:
    label = np.full((8, 9), 1, np.uint8)
    label[:, 4:] = VOID
    assert not near_boundary(label).any()
    label[0, 8] = 0  # beyond the ignored pixels
    assert not near_boundary(label)[:, :4].any()
    label[0, 6] = 0
    assert near_boundary(label)[0, 3]
    assert not near_boundary(label)[:, 4:6].any()


def test_class_without_label_is_shown_only_if_predicted(tmp_path: Path) -> None:
    labels = [np.zeros((8, 8), np.uint8) + (number % 2) for number in range(6)]
    plain = run_levels(tmp_path, labels, lambda number, label: label)
    assert list(plain.breakdown("class")["part"]) == ["road", "sky"]
    (tmp_path / "other").mkdir()
    trees = run_levels(tmp_path / "other", labels, lambda number, label: np.full_like(label, 2))
    frame = by_part(trees.breakdown("class"))
    assert frame.loc["tree", "pixels"] == 0
    assert frame.loc["tree", "attacked"] == 0
    assert np.isnan(frame.loc["tree", "clean"])
    assert frame.loc["road", "drop"] == 100
