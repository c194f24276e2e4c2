"""Segmentation metrics from int64 confusion matrices; rows are labels, columns predictions."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from segtransfer.errors import InputError
from segtransfer.tasks.labels import IGNORE_INDEX
from segtransfer.tasks.registry import Registry

# A function of the right, labelled and predicted pixels per class, ... x K each, to percent.
Margins = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Score:
    """A metric in percent, with its traits.

        def recall_of_first(right, labelled, predicted):  # each ... x K
            return 100 * right[..., 0] / labelled[..., 0]

        RECALL = Score("Recall", "The share of class 0 found.", recall_of_first)

    Attributes:
        label: The short name in the report.
        meaning: A sentence for the report.
        of_margins: The function from right, labelled and predicted pixels per class to percent:
            three arrays ... x K, summed over images, to an array of the leading shape; NaN if
            undefined. None for a metric of several predictions or cells.
        words: The name in text and figures; by default the label.
        lower_fools_more: Whether a lower value means a stronger attack. Default True.
        shown: Whether the report offers the metric. Default True.
        logged: Whether the metric of each cell is logged to MLflow. Default True.
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
    """Return the function of a metric of a single prediction.

    Args:
        metric: A name of the registry: shipped, of an installed package, or ``module:attribute``.

    Returns:
        A function of right, labelled and predicted pixels per class, ... x K each, to percent.

    Raises:
        InputError: If the metric is unknown, or compares several predictions.
    """
    function = METRICS.find(metric).of_margins
    if function is None:
        allowed = ", ".join(name for name, score in METRICS.items() if score.of_margins)
        raise InputError(
            f"metric '{metric}' compares several predictions, and a metric of a single prediction "
            f"is needed; give one of {allowed}"
        )
    return function


def confusion(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the confusion matrix of each image.

    Args:
        predictions: Class indices from 0 to K - 1, N x H x W.
        labels: Class indices from 0 to K - 1, N x H x W; 255 is ignored.
        num_classes: K.

    Returns:
        Pixel counts, int64 N x K x K; rows are labels, columns predictions.
    """
    matrices = np.zeros((len(labels), num_classes, num_classes), np.int64)
    for matrix, prediction, label in zip(matrices, predictions, labels, strict=True):
        counted = label != IGNORE_INDEX
        pairs = label[counted].astype(np.int64) * num_classes + prediction[counted]
        matrix[:] = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    return matrices


def margins(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return right, labelled and predicted pixels per class.

    Args:
        matrix: Confusion matrices, ... x K x K; rows are labels.

    Returns:
        Three arrays ... x K: the diagonal, the row sums and the column sums.
    """
    return np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-1), matrix.sum(-2)


def class_counts(matrix: np.ndarray) -> np.ndarray:
    """Return the margins of confusion matrices as a single array.

    Args:
        matrix: Confusion matrices of single images, ... x K x K, of less than 2^31 pixels each.

    Returns:
        int32 ... x 3 x K: right, labelled and predicted pixels.
    """
    return np.stack(margins(matrix), axis=-2).astype(np.int32)


def class_iou(matrix: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each class.

    Args:
        matrix: Confusion matrices, ... x K x K.

    Returns:
        Percent, ... x K; NaN for a class in neither labels nor predictions.
    """
    return class_iou_of(*margins(matrix))


def miou(matrix: np.ndarray) -> np.ndarray | float:
    """Return the mean IoU over the classes in labels or predictions.

    Args:
        matrix: Confusion matrices summed over images, ... x K x K.

    Returns:
        Percent, of the leading shape; NaN without labelled pixels.
    """
    return miou_of(*margins(matrix))


def accuracy(matrix: np.ndarray) -> np.ndarray | float:
    """Return aAcc, the share of labelled pixels with the right prediction.

    Args:
        matrix: Confusion matrices summed over images, ... x K x K.

    Returns:
        Percent, of the leading shape; NaN without labelled pixels.
    """
    return accuracy_of(*margins(matrix))


def class_accuracy(matrix: np.ndarray) -> np.ndarray | float:
    """Return mAcc, the mean recall over the classes with labels.

    Args:
        matrix: Confusion matrices summed over images, ... x K x K.

    Returns:
        Percent, of the leading shape; NaN without labelled pixels.
    """
    return class_accuracy_of(*margins(matrix))


def class_iou_of(right: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return ``class_iou`` from margins.

    Args:
        right: Right pixels per class, ... x K.
        labelled: Labelled pixels per class, ... x K.
        predicted: Predicted pixels per class, ... x K.

    Returns:
        Percent, ... x K; NaN for a class in neither labels nor predictions.
    """
    return _percent(right, labelled + predicted - right)


def miou_of(right: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return ``miou`` from margins.

    Args:
        right: Right pixels per class, ... x K.
        labelled: Labelled pixels per class, ... x K.
        predicted: Predicted pixels per class, ... x K.

    Returns:
        Percent, ...; NaN without any class in labels or predictions.
    """
    return _mean_of_present(class_iou_of(right, labelled, predicted))


def accuracy_of(right: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return ``accuracy`` from margins.

    Args:
        right: Right pixels per class, ... x K.
        labelled: Labelled pixels per class, ... x K.
        predicted: Predicted pixels per class, ... x K.

    Returns:
        Percent, ...; NaN without labelled pixels.
    """
    return _percent(right.sum(-1), labelled.sum(-1))


def class_accuracy_of(right: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return ``class_accuracy`` from margins.

    Args:
        right: Right pixels per class, ... x K.
        labelled: Labelled pixels per class, ... x K.
        predicted: Predicted pixels per class, ... x K.

    Returns:
        Percent, ...; NaN without labelled pixels.
    """
    return _mean_of_present(_percent(right, labelled))


def fooling_of(turned: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the fooling rate from the counts of ``fooled``, summed over images.

    Args:
        turned: The number of pixels turned wrong by the attack.
        right: The number of right pixels on the clean image.

    Returns:
        Percent, 100 turned / right; NaN if no clean pixel is right.
    """
    return _percent(turned, right)


def chance_miou(labelled: np.ndarray) -> float:
    """Return the mIoU of the best prediction without a look at the image.

    A class of share p among the labels, predicted at random for a share q of the pixels, has the
    expected IoU pq / (p + q - pq). The best of three guesses counts: the most frequent class
    everywhere, classes as often as in the labels, and all classes equally often.

    Args:
        labelled: The labelled pixels per class, K.

    Returns:
        Percent, the mean over the classes with labels; NaN without labelled pixels.
    """
    counts = labelled[labelled > 0]
    if not len(counts):
        return float("nan")
    p = counts / counts.sum()
    guesses = (np.arange(len(p)) == p.argmax(), p, np.full(len(p), 1 / len(p)))
    return max(float(np.mean(100 * p * q / (p + q - p * q))) for q in guesses)


def chance_accuracy(labelled: np.ndarray) -> float:
    """Return the accuracy of the best prediction without a look at the image.

    Args:
        labelled: The number of labels per class, K.

    Returns:
        Percent, the share of the most frequent class; NaN without labels.
    """
    return float(100 * labelled.max() / labelled.sum()) if labelled.any() else float("nan")


def fooled(adversarial: np.ndarray, clean: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count the pixels turned wrong by an attack, and the pixels right on the clean image.

    Args:
        adversarial: Predictions on adversarial examples, class indices N x H x W.
        clean: Predictions on clean images, class indices N x H x W.
        labels: Class indices N x H x W; 255 is ignored.

    Returns:
        int64 N x 2: labelled pixels right on the clean image and wrong on the AE; labelled pixels
        right on the clean image. Their ratio is the fooling rate.
    """
    right = (clean == labels) & (labels != IGNORE_INDEX)
    wrong = right & (adversarial != labels)
    return np.stack([wrong.sum((1, 2)), right.sum((1, 2))], axis=-1)


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return 100 part / whole, NaN if the whole is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, 100 * part.astype(np.float64) / whole, np.nan)[()]


def _mean_of_present(values: np.ndarray) -> np.ndarray:
    """Return the mean over values other than NaN, along the last axis; NaN without any."""
    present = ~np.isnan(values)
    total, count = np.where(present, values, 0).sum(-1), present.sum(-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)[()]


METRICS.add("miou")(
    Score(
        "mIoU",
        "The intersection over union of each class, from the pixels of all images together, "
        "averaged over the classes.",
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
        "The drop as a share of the drop under the strongest white-box attack on the same target "
        "at the same eps.",
        words="transfer ratio",
        lower_fools_more=False,
        logged=False,
    )
)
METRICS.add("fooling")(
    Score(
        "Fooling rate",
        "The share of pixels turned wrong by the attack, among pixels right on the clean image.",
        words="fooling rate",
        lower_fools_more=False,
    )
)
METRICS.add("aacc")(
    Score("aAcc", "The share of labelled pixels with the right class.", accuracy_of)
)
METRICS.add("macc")(
    Score(
        "mAcc",
        "The share of right pixels among each class's pixels, averaged over the classes.",
        class_accuracy_of,
    )
)
METRICS.add("wrong")(
    Score(
        "Wrong",
        "The share of labelled pixels with a wrong class.",
        lambda *pixels: 100 - accuracy_of(*pixels),
        words="share of wrong pixels",
        lower_fools_more=False,
        shown=False,
        logged=False,
    )
)
