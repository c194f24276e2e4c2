import numpy as np
import pytest

from segtransfer.errors import InputError
from segtransfer.tasks.evaluate import evaluate
from tests.tasks.cases import annotations, pictures, toy


def test_predictions_and_matrices_of_a_toy_whose_answer_is_known() -> None:
    """Class 0 wins where red is the larger, class 1 where green is."""
    model = toy("linear", weights=[[1.0, 0, 0], [0, 1.0, 0]])
    images = pictures(3, 6, 10)
    labels = annotations(3, 6, 10, 2)
    result = evaluate(model, images, labels, num_classes=2, micro_batch=2)
    expected = (images[:, 1] > images[:, 0]).astype(np.uint8)
    assert result.predictions.dtype == np.uint8
    assert np.array_equal(result.predictions, expected)
    for n in range(3):
        for k in range(2):
            for j in range(2):
                count = ((labels[n] == k) & (expected[n] == j)).sum()
                assert result.confusions[n, k, j] == count


@pytest.mark.parametrize("micro_batch", [1, 2, 5, 8])
def test_scores_do_not_depend_on_the_micro_batch(micro_batch: int) -> None:
    model = toy("convolutional")
    images, labels = pictures(5, 11, 13), annotations(5, 11, 13, 3)
    whole = evaluate(model, images, labels, num_classes=3, micro_batch=5)
    parts = evaluate(model, images, labels, num_classes=3, micro_batch=micro_batch)
    assert np.array_equal(parts.predictions, whole.predictions)
    assert np.array_equal(parts.confusions, whole.confusions)


def test_evaluation_costs_one_forward_an_image_and_no_backward() -> None:
    model = toy("convolutional")
    images, labels = pictures(5, 8, 6), annotations(5, 8, 6, 3)
    report = evaluate(model, images, labels, num_classes=3, micro_batch=2).report
    assert report["cost"]["forwards"] == 5
    assert report["cost"]["backwards"] == 0
    assert report["cost"]["pixels"] == 5 * 8 * 6


def test_a_model_of_another_number_of_classes_is_refused() -> None:
    images, labels = pictures(2, 8, 6), annotations(2, 8, 6, 3)
    with pytest.raises(InputError, match="predicts 3 classes, the data has 4"):
        evaluate(toy("convolutional"), images, labels, num_classes=4, micro_batch=2)
