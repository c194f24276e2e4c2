"""The evaluation task: one shard of 8-bit images through one target; confusion matrices out."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from tasks.metrics import confusion
from tasks.models.base import Segmenter


@dataclass(frozen=True)
class EvaluateResult:
    """Per-image confusion matrices int64 N x K x K, predictions uint8 N x H x W, the cost."""

    confusions: np.ndarray
    predictions: np.ndarray
    report: dict[str, Any]


def evaluate(
    model: Segmenter, images: np.ndarray, labels: np.ndarray, *, micro_batch: int
) -> EvaluateResult:
    """Score ``images`` (uint8 N x 3 x H x W) against ``labels`` (N x H x W, 255 ignored)."""
    before = model.cost
    predictions = []
    for first in range(0, len(images), micro_batch):
        pixels = torch.tensor(images[first : first + micro_batch], device=model.device)
        with torch.inference_mode():
            predictions.append(model(pixels.float() / 255).argmax(1).cpu().numpy())
    predicted = np.concatenate(predictions).astype(np.uint8)
    return EvaluateResult(
        confusions=confusion(predicted, labels, model.num_classes),
        predictions=predicted,
        report={"cost": asdict(model.cost - before)},
    )
