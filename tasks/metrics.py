"""Segmentation metrics from int64 confusion matrices; rows are labels, columns predictions."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from segtransfer.errors import InputError
from segtransfer.tasks.labels import IGNORE_INDEX
from segtransfer.tasks.registry import Registry

# A function of the right, labelled and predicted pixels per class, ... x K each.
Margins = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Score:
    """A metric in percent, with its traits.

    Attributes:
        label: The short name on the report's page.
        meaning: A sentence.
        of_margins: The metric from the right, labelled and predicted pixels per class (each ... x
            K, summed over images); None for a metric of several predictions or cells.
        words: The name in text and figures; by default the label.
        lower_fools_more: Whether a lower value means a stronger attack.
        shown: Whether the report's page offers the metric.
        logged: Whether the metric of each cell is logged to MLflow.
    """

    label: str
    meaning: str
    of_margins: Margins | None = None
    words: str = ""
    lower_fools_more: bool = True
    shown: bool = True
    logged: bool = True


METRICS: Registry[Score] = Registry(
    "metrics",
    ("segtransfer.tasks.metrics",),
    lambda entry: isinstance(entry, Score),
    "segtransfer.extend.Score",
)


def of_margins(metric: str) -> Margins:
    """Return the function of a metric of one prediction, by any name of the registry.

    Raises:
        InputError: If the metric is unknown, or compares several predictions.
    """
    function = METRICS.find(metric).of_margins
    if function is None:
        raise InputError(f"metric '{metric}' is no function of the pixels of one prediction")
    return function


def confusion(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the confusion matrix of each image.

    Args:
        predictions: Class indices, N x H x W.
        labels: Class indices, N x H x W; 255 is ignored.
        num_classes: K.

    Returns:
        int64 N x K x K; rows are labels.
    """
    matrices = np.zeros((len(labels), num_classes, num_classes), np.int64)
    for matrix, prediction, label in zip(matrices, predictions, labels, strict=True):
        counted = label != IGNORE_INDEX
        pairs = label[counted].astype(np.int64) * num_classes + prediction[counted]
        matrix[:] = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    return matrices


def margins(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return correct, labelled and predicted pixels per class, ... x K each.

    Args:
        matrix: Confusion matrices, ... x K x K.
    """
    return np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-1), matrix.sum(-2)


def class_counts(matrix: np.ndarray) -> np.ndarray:
    """Return ``margins`` as one array, int32 ... x 3 x K; an image has less than 2^31 pixels."""
    return np.stack(margins(matrix), axis=-2).astype(np.int32)


def class_iou(matrix: np.ndarray) -> np.ndarray:
    """Return the IoU of each class in percent; NaN for a class in neither labels nor predictions.

    Args:
        matrix: Confusion matrices, ... x K x K.

    Returns:
        ... x K.
    """
    return class_iou_of(*margins(matrix))


def miou(matrix: np.ndarray) -> np.ndarray | float:
    """Return the mean IoU in percent over the classes that occur; NaN without labelled pixels.

    Args:
        matrix: Summed confusion matrices, ... x K x K.
    """
    return miou_of(*margins(matrix))


def accuracy(matrix: np.ndarray) -> np.ndarray | float:
    """Return aAcc in percent: the share of labelled pixels that are correct; NaN without any.

    Args:
        matrix: Summed confusion matrices, ... x K x K.
    """
    return accuracy_of(*margins(matrix))


def class_accuracy(matrix: np.ndarray) -> np.ndarray | float:
    """Return mAcc in percent: the mean recall over the classes that have labels; NaN without any.

    Args:
        matrix: Summed confusion matrices, ... x K x K.
    """
    return class_accuracy_of(*margins(matrix))


def class_iou_of(right: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return ``class_iou`` from the margins of matrices, ... x K each."""
    return _percent(right, labelled + predicted - right)


def miou_of(right: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return ``miou`` from the margins of matrices, ... x K each."""
    return _mean_of_present(class_iou_of(right, labelled, predicted))


def accuracy_of(right: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return ``accuracy`` from the margins of matrices, ... x K each."""
    return _percent(right.sum(-1), labelled.sum(-1))


def class_accuracy_of(right: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return ``class_accuracy`` from the margins of matrices, ... x K each."""
    return _mean_of_present(_percent(right, labelled))


def fooling_of(turned: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the fooling rate in percent from ``fooled``, summed; NaN if no clean pixel is right.

    Args:
        turned: The pixels that the attack turned wrong.
        right: The pixels that are right on the clean image.
    """
    return _percent(turned, right)


def chance_miou(labelled: np.ndarray) -> float:
    """Return the mIoU in percent of predictions that do not depend on the image.

    A class of share p among the labels, predicted at random for a share q of the pixels, has the
    expected IoU pq / (p + q - pq). The best of three guesses counts: the most frequent class
    everywhere, classes as often as in the labels, and all classes equally often.

    Args:
        labelled: The labelled pixels per class, K.

    Returns:
        The mean over the classes with labels; NaN without labelled pixels.
    """
    counts = labelled[labelled > 0]
    if not len(counts):
        return float("nan")
    p = counts / counts.sum()
    guesses = (np.arange(len(p)) == p.argmax(), p, np.full(len(p), 1 / len(p)))
    return max(float(np.mean(100 * p * q / (p + q - p * q))) for q in guesses)


def fooled(adversarial: np.ndarray, clean: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count the pixels that an attack turned, and those that it could turn; their ratio is fooling.

    Args:
        adversarial: Predictions on adversarial examples, class indices N x H x W.
        clean: Predictions on clean images, class indices N x H x W.
        labels: Class indices N x H x W; 255 is ignored.

    Returns:
        int64 N x 2: pixels correct on the clean image and wrong on the AE, and all pixels correct
        on the clean image.
    """
    right = (clean == labels) & (labels != IGNORE_INDEX)
    wrong = right & (adversarial != labels)
    return np.stack([wrong.sum((1, 2)), right.sum((1, 2))], axis=-1)


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return 100 part / whole, NaN if the whole is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, 100 * part.astype(np.float64) / whole, np.nan)[()]


def _mean_of_present(values: np.ndarray) -> np.ndarray:
    """Return the mean over values that are not NaN, along the last axis; NaN if there are none."""
    present = ~np.isnan(values)
    total, count = np.where(present, values, 0).sum(-1), present.sum(-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)[()]


METRICS.add("miou")(
    Score(
        "mIoU",
        "Intersection over union of each class, from the pixels of all images together, averaged "
        "over the classes.",
        miou_of,
    )
)
METRICS.add("drop")(
    Score(
        "Drop",
        "Clean mIoU less mIoU under attack, in points.",
        words="drop in mIoU",
        lower_fools_more=False,
    )
)
METRICS.add("ratio")(
    Score(
        "Transfer ratio",
        "The drop as a share of what the strongest white-box attack of the same eps takes from the "
        "same target.",
        words="transfer ratio",
        lower_fools_more=False,
        logged=False,
    )
)
METRICS.add("fooling")(
    Score(
        "Fooling rate",
        "Of the pixels that are right on the clean image, the share that the attack turns wrong.",
        words="fooling rate",
        lower_fools_more=False,
    )
)
METRICS.add("aacc")(Score("aAcc", "The share of labelled pixels that are right.", accuracy_of))
METRICS.add("macc")(
    Score(
        "mAcc",
        "The share of each class's pixels that are right, averaged over the classes.",
        class_accuracy_of,
    )
)
METRICS.add("wrong")(
    Score(
        "Wrong",
        "The share of labelled pixels that are wrong.",
        lambda *pixels: 100 - accuracy_of(*pixels),
        words="share of wrong pixels",
        lower_fools_more=False,
        shown=False,
        logged=False,
    )
)
