"""The headline metric of an experiment, and the words of metrics whose unit is an image."""

from dataclasses import replace
from functools import cache
from typing import Final

from segtransfer.errors import InputError
from segtransfer.tasks.metrics import METRICS, Score

# The headline metrics of segmenters and of classifiers.
OF_PIXELS: Final = "miou"
OF_IMAGES: Final = "aacc"


def score_of(metric: str, headline: str = OF_PIXELS) -> Score:
    """Return a metric with the words that fit the targets of an experiment.

    Args:
        metric: A name of the registry: shipped, of an installed package, or ``module:attribute``.
        headline: The experiment's headline metric; ``aacc`` if its targets are classifiers.

    Returns:
        The metric. For classifiers, label, meaning and words speak of images and accuracy.

    Raises:
        InputError: If the metric is unknown, or is ``miou`` and the targets are classifiers.
    """
    if headline != OF_IMAGES:
        return METRICS.find(metric)
    if metric == OF_PIXELS:
        raise InputError(
            "metric 'miou' is of pixels, and the targets are classifiers; give aacc, the accuracy"
        )
    return _of_images().get(metric) or METRICS.find(metric)


def quality(headline: str) -> str:
    """Return the headline metric in text: "mIoU", or "accuracy" for classifiers."""
    return "accuracy" if headline == OF_IMAGES else "mIoU"


def is_offered(metric: str, headline: str) -> bool:
    """Tell whether a shipped metric makes sense for the targets of an experiment.

    Args:
        metric: The name of a shipped metric.
        headline: The experiment's headline metric.
    """
    return headline != OF_IMAGES or metric != OF_PIXELS


@cache
def _of_images() -> dict[str, Score]:
    """Return the shipped metrics by name, with the words for images."""
    words = {
        "aacc": ("Accuracy", "The share of images with the right class.", "accuracy"),
        "macc": (
            "Mean accuracy",
            "The share of right images among each class's images, averaged over the classes.",
            "mean accuracy",
        ),
        "wrong": (
            "Wrong",
            "The share of images with a wrong class.",
            "share of wrong images",
        ),
        "drop": (
            "Drop",
            "Clean accuracy less accuracy under attack, in points.",
            "drop in accuracy",
        ),
        "fooling": (
            "Fooling rate",
            "The share of images turned wrong by the attack, among images right without it.",
            "fooling rate",
        ),
    }
    return {
        name: replace(METRICS[name], label=label, meaning=meaning, words=text)
        for name, (label, meaning, text) in words.items()
    }
