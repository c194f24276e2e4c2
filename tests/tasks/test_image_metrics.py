"""The headline metric, and metrics whose unit is an image."""

import numpy as np
import pytest

from segtransfer.errors import InputError
from segtransfer.tasks.image_metrics import is_offered, quality, score_of
from segtransfer.tasks.metrics import METRICS, chance_accuracy


def test_metrics_of_segmenters_are_those_of_the_registry() -> None:
    assert all(score_of(name) is METRICS[name] for name in METRICS)
    assert quality("miou") == "mIoU"


def test_metrics_of_classifiers_speak_of_images_and_compute_alike() -> None:
    offered = [name for name in METRICS if is_offered(name, "aacc")]
    assert set(METRICS) - set(offered) == {"miou"}
    for name in offered:
        score = score_of(name, "aacc")
        assert score.of_margins is METRICS[name].of_margins
        assert "pixel" not in score.meaning
        assert "mIoU" not in score.meaning
        assert "mIoU" not in score.words
    assert score_of("aacc", "aacc").words == quality("aacc") == "accuracy"


def test_miou_of_classifiers_is_refused() -> None:
    with pytest.raises(InputError, match="metric 'miou' is of pixels"):
        score_of("miou", "aacc")


def test_chance_accuracy_is_the_share_of_the_most_frequent_class() -> None:
    assert chance_accuracy(np.array([1, 3, 0])) == 75
    assert np.isnan(chance_accuracy(np.zeros(2, int)))
