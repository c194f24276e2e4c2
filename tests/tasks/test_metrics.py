import warnings

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from segtransfer.tasks.metrics import accuracy, class_accuracy, class_iou, confusion, fooled, miou


def test_a_hand_made_confusion_matrix_has_labels_in_rows() -> None:
    labels = np.array([[[0, 0, 1], [1, 2, 255]]], np.uint8)
    predictions = np.array([[[0, 1, 1], [2, 2, 0]]], np.uint8)
    matrix = confusion(predictions, labels, 3)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == [[[1, 1, 0], [0, 1, 1], [0, 0, 1]]]


def test_metrics_of_a_hand_made_matrix() -> None:
    matrix = np.array([[3, 1], [2, 4]])
    assert class_iou(matrix).tolist() == pytest.approx([100 * 3 / 6, 100 * 4 / 7])
    assert miou(matrix) == pytest.approx((50 + 400 / 7) / 2)
    assert accuracy(matrix) == pytest.approx(70)
    assert class_accuracy(matrix) == pytest.approx((75 + 400 / 6) / 2)


def test_a_class_in_neither_labels_nor_predictions_is_left_out() -> None:
    matrix = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    assert np.isnan(class_iou(matrix)[2])
    assert miou(matrix) == pytest.approx(miou(matrix[:2, :2]))
    assert class_accuracy(matrix) == pytest.approx(class_accuracy(matrix[:2, :2]))


def test_a_class_that_is_only_predicted_counts_as_zero_iou_and_not_in_macc() -> None:
    matrix = np.array([[3, 1], [0, 0]])
    assert class_iou(matrix).tolist() == [75, 0]
    assert miou(matrix) == 37.5
    assert class_accuracy(matrix) == 75


def test_an_image_without_labels_gives_finite_numbers_and_no_warning() -> None:
    matrix = confusion(np.zeros((1, 4, 4), np.uint8), np.full((1, 4, 4), 255), 3)
    assert matrix.sum() == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = [miou(matrix), accuracy(matrix), class_accuracy(matrix)]
    assert np.isfinite(results).all()


def test_metrics_take_stacks_of_matrices() -> None:
    stack = np.random.default_rng(0).integers(0, 50, (4, 2, 5, 5))
    for metric in (miou, accuracy, class_accuracy):
        values = np.asarray(metric(stack))
        assert values.shape == (4, 2)
        assert values[3, 1] == pytest.approx(metric(stack[3, 1]))


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_mmsegs_own_on_random_predictions(seed: int) -> None:
    generator = np.random.default_rng(seed)
    classes = 7
    # Class 6 never occurs; 5 is only ever predicted.
    labels = generator.integers(0, classes - 2, (6, 20, 30)).astype(np.uint8)
    predictions = np.where(
        generator.random(labels.shape) < 0.6,
        labels,
        generator.integers(0, classes - 1, labels.shape),
    ).astype(np.uint8)
    labels[generator.random(labels.shape) < 0.15] = 255

    areas = [
        IoUMetric.intersect_and_union(torch.tensor(p), torch.tensor(y), classes, 255)
        for p, y in zip(predictions, labels, strict=True)
    ]
    theirs = IoUMetric.total_area_to_metrics(*(sum(a) for a in zip(*areas, strict=True)))

    matrices = confusion(predictions, labels, classes)
    total = matrices.sum(0)
    assert total.sum() == (labels != 255).sum()
    assert matrices.sum((1, 2)).tolist() == (labels != 255).sum((1, 2)).tolist()
    np.testing.assert_allclose(class_iou(total), 100 * theirs["IoU"], rtol=1e-5)
    assert miou(total) == pytest.approx(100 * np.nanmean(theirs["IoU"]), rel=1e-5)
    assert accuracy(total) == pytest.approx(100 * float(theirs["aAcc"]), rel=1e-5)
    assert class_accuracy(total) == pytest.approx(100 * np.nanmean(theirs["Acc"]), rel=1e-5)


def test_fooled_counts_only_pixels_that_were_right_and_labelled() -> None:
    labels = np.array([[[0, 0, 1, 1, 255]], [[0, 0, 0, 0, 0]]])
    clean = np.array([[[0, 1, 1, 1, 0]], [[1, 1, 1, 1, 1]]])
    adversarial = np.array([[[1, 1, 0, 1, 1]], [[1, 1, 1, 1, 1]]])
    assert fooled(adversarial, clean, labels).tolist() == [[2, 3], [0, 0]]
