"""Segmentation metrics from int64 confusion matrices; rows are labels, columns predictions."""

import numpy as np

IGNORE = 255


def confusion(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Per-image confusion matrices: N x H x W class indices -> int64 N x K x K, 255 ignored."""
    matrices = np.zeros((len(labels), num_classes, num_classes), np.int64)
    for matrix, prediction, label in zip(matrices, predictions, labels, strict=True):
        counted = label != IGNORE
        pairs = label[counted].astype(np.int64) * num_classes + prediction[counted]
        matrix[:] = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    return matrices


def class_iou(matrix: np.ndarray) -> np.ndarray:
    """IoU in percent of every class of ... x K x K matrices; NaN where a class is in neither
    labels nor predictions."""
    intersection = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    union = matrix.sum(-1) + matrix.sum(-2) - intersection
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(union > 0, 100 * intersection / union, np.nan)


def miou(matrix: np.ndarray) -> np.ndarray | float:
    """Mean IoU in percent over the classes that occur, from ... x K x K summed matrices."""
    return _mean_of_present(class_iou(matrix))


def accuracy(matrix: np.ndarray) -> np.ndarray | float:
    """aAcc in percent: the share of labelled pixels that are right."""
    right = np.trace(matrix, axis1=-2, axis2=-1)
    return 100 * right / np.maximum(matrix.sum((-2, -1)), 1)


def class_accuracy(matrix: np.ndarray) -> np.ndarray | float:
    """mAcc in percent: the mean recall over the classes that have labels."""
    labelled = matrix.sum(-1).astype(np.float64)
    right = np.diagonal(matrix, axis1=-2, axis2=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = np.where(labelled > 0, 100 * right / labelled, np.nan)
    return _mean_of_present(recall)


def fooling_rate(adversarial: np.ndarray, clean: np.ndarray, labels: np.ndarray) -> float:
    """Share, in percent, of the pixels right on the clean image that are wrong on the AE.

    All three are class indices of one shape; labels of 255 are ignored.
    """
    right = (clean == labels) & (labels != IGNORE)
    return float(100 * (adversarial != labels)[right].sum() / max(right.sum(), 1))


def _mean_of_present(values: np.ndarray) -> np.ndarray | float:
    present = ~np.isnan(values)
    total = np.where(present, values, 0).sum(-1)
    return total / np.maximum(present.sum(-1), 1)
