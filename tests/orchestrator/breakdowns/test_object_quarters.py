"""Object quarters: components, quarters, counts and recall by hand."""

import numpy as np
import pytest

from segtransfer.breakdowns.object_quarters import count, objects, quarter_edges, quarters, recall

VOID = 255


def test_objects_are_components_of_a_class_without_void() -> None:
    label = np.array([[1, 1, 0, 1], [0, 0, 0, 1], [VOID, 1, 0, 0]], np.uint8)
    which, areas = objects(label, 3)
    assert [list(found) for found in areas] == [[6], [2, 2, 1], []]
    assert which[0, 0] == which[0, 1]
    assert which[0, 3] == which[1, 3]
    assert len({which[0, 0], which[0, 3], which[2, 1]}) == 3  # an object each


def strips(lengths: list[int], index: int) -> np.ndarray:
    """Return a label with an object per row, of the given length, and void around."""
    label = np.full((2 * len(lengths), 8), VOID, np.uint8)
    for row, length in enumerate(lengths):
        label[2 * row, :length] = index
    return label


def test_objects_are_sorted_into_quarters_of_their_own_class_over_all_images() -> None:
    labels = np.stack([strips([1, 2, 3, 8], 0), strips([4, 5, 6, 7], 0), strips([8, 8, 8, 8], 1)])
    edges, areas = quarter_edges(labels, 2)
    sizes = quarters(labels, edges)
    assert [sorted(found) for found in areas[1:]] == [[3, 4], [5, 6], [7, 8]]
    # Objects of the other class have equal areas, which is the first quarter.
    assert sorted(areas[0]) == [1, 2, 8, 8, 8, 8]
    assert list(sizes[0][::2, 0]) == [0, 0, 1, 3]
    assert list(sizes[1][::2, 0]) == [1, 2, 2, 3]
    assert ((sizes == VOID) == (labels == VOID)).all()


def test_pixels_are_counted_by_image_class_and_quarter() -> None:
    labels = np.stack([strips([1, 2, 3, 8], 0), strips([4, 5, 6, 7], 0)])
    sizes = quarters(labels, quarter_edges(labels, 2)[0])
    every = count(np.ones(labels.shape, bool), labels, sizes, 2)
    assert every.tolist() == [[3, 3, 0, 8, 0, 0, 0, 0], [0, 4, 11, 7, 0, 0, 0, 0]]
    right = count(sizes == 3, labels, sizes, 2)
    assert right.tolist() == [[0, 0, 0, 8, 0, 0, 0, 0], [0, 0, 0, 7, 0, 0, 0, 0]]


def test_recall_is_the_mean_over_classes_with_objects_of_the_quarter() -> None:
    every = np.array([10, 10, 10, 0, 20, 20, 0, 0])
    right = np.array([10, 5, 1, 0, 0, 20, 0, 0])
    assert recall(right, every).tolist() == pytest.approx([50, 75, 10, np.nan], nan_ok=True)
