"""The evaluation task: a shard of 8-bit images through a target; returns confusion matrices."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from segtransfer.errors import InputError
from segtransfer.tasks.batching import fitting_memory, in_micro_batches, upload
from segtransfer.tasks.labels import image_classes
from segtransfer.tasks.metrics import confusion
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.outputs import check_finite


@dataclass(frozen=True)
class EvaluateResult:
    """The scores of a shard.

    Attributes:
        confusions: The confusion matrix of each image, int64 N x K x K; rows are labels.
        predictions: Class indices, uint8 N x h x w, at the size of the labels; N x 1 x 1 of a
            classifier.
        report: The JSON stored beside the scores: numerics and cost.
    """

    confusions: np.ndarray
    predictions: np.ndarray
    report: dict[str, Any]


def evaluate(
    model: Segmenter,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int,
    micro_batch: int,
    image_ids: Sequence[str] | None = None,
    poll: Callable[[], None] = lambda: None,
) -> EvaluateResult:
    """Score images against labels.

    Args:
        model: The target.
        images: uint8 N x 3 x H x W, RGB.
        labels: Class indices, uint8 N x h x w; 255 is ignored. Logits are resized to h x w; a
            classifier is scored on the class of each image.
        num_classes: K, the number of classes of the data.
        micro_batch: The largest number of images per forward, 1 or more.
        image_ids: An id per image, for messages; by default numbers from 0.
        poll: Called before every forward; an exception stops the call.

    Raises:
        InputError: If the model has another number of classes than K, or a logit is not finite.
    """
    labels = image_classes(labels) if model.classifier else labels
    if model.num_classes != num_classes:
        raise InputError(
            f"{model.who} predicts {model.num_classes} classes, the data has {num_classes}; give a "
            "model of the same class list, or map its classes with label_map"
        )
    size = labels.shape[1], labels.shape[2]
    before, ids = model.cost, list(map(str, image_ids or range(len(images))))

    @torch.inference_mode()
    def predict(part: slice) -> np.ndarray:
        poll()
        logits = model(upload(images[part], model.device).float() / 255)
        check_finite(logits, ids[part], model.who)
        logits = model.at(logits, size)
        # max over a middle dimension is four times as fast as argmax on a CPU.
        return logits.max(1).indices.to(torch.uint8).cpu().numpy()

    fitting = fitting_memory(images, model.device)
    predicted = np.concatenate(in_micro_batches(predict, len(images), micro_batch, fitting))
    return EvaluateResult(
        confusions=confusion(predicted, labels, num_classes),
        predictions=predicted,
        report={**model.facts, "cost": asdict(model.cost - before)},
    )
