"""Segmentation metrics from int64 confusion matrices; rows are labels, columns predictions."""

import numpy as np

from segtransfer.tasks.labels import IGNORE_INDEX


def confusion(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Per-image confusion matrices: N x H x W class indices -> int64 N x K x K, 255 ignored."""
    matrices = np.zeros((len(labels), num_classes, num_classes), np.int64)
    for matrix, prediction, label in zip(matrices, predictions, labels, strict=True):
        counted = label != IGNORE_INDEX
        pairs = label[counted].astype(np.int64) * num_classes + prediction[counted]
        matrix[:] = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    return matrices


def margins(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right, labelled and predicted pixels of every class, from ... x K x K matrices."""
    return np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-1), matrix.sum(-2)


def class_iou(matrix: np.ndarray) -> np.ndarray:
    """IoU in percent of every class of ... x K x K matrices; NaN where a class is in neither
    labels nor predictions."""
    return class_iou_of(*margins(matrix))


def miou(matrix: np.ndarray) -> np.ndarray | float:
    """Mean IoU in percent over the classes that occur, from ... x K x K summed matrices."""
    return miou_of(*margins(matrix))


def accuracy(matrix: np.ndarray) -> np.ndarray | float:
    """aAcc in percent: the share of labelled pixels that are right."""
    return accuracy_of(*margins(matrix))


def class_accuracy(matrix: np.ndarray) -> np.ndarray | float:
    """mAcc in percent: the mean recall over the classes that have labels."""
    return class_accuracy_of(*margins(matrix))


def class_iou_of(right: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """``class_iou`` from the margins of matrices, ... x K each."""
    return _percent(right, labelled + predicted - right)


def miou_of(right: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """``miou`` from the margins of matrices, ... x K each."""
    return _mean_of_present(class_iou_of(right, labelled, predicted))


def accuracy_of(right: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """``accuracy`` from the margins of matrices, ... x K each."""
    return 100 * right.sum(-1) / np.maximum(labelled.sum(-1), 1)


def class_accuracy_of(right: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """``class_accuracy`` from the margins of matrices, ... x K each."""
    return _mean_of_present(_percent(right, labelled))


def fooled(adversarial: np.ndarray, clean: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Per image the pixels that are right on the clean image and wrong on the AE, and all that are
    right on the clean image: int64 N x 2, whose share is the fooling rate.

    All three are class indices N x H x W; labels of 255 are ignored.
    """
    right = (clean == labels) & (labels != IGNORE_INDEX)
    wrong = right & (adversarial != labels)
    return np.stack([wrong.sum((1, 2)), right.sum((1, 2))], axis=-1)


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """100 part / whole, NaN where there is no whole."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, 100 * part.astype(np.float64) / whole, np.nan)


def _mean_of_present(values: np.ndarray) -> np.ndarray:
    present = ~np.isnan(values)
    total = np.where(present, values, 0).sum(-1)
    return total / np.maximum(present.sum(-1), 1)
