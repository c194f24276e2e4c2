"""The attack task: one shard of images, one source model, all steps; returns 8-bit AEs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from tasks.attacks import loop
from tasks.attacks.spec import AttackSpec
from tasks.models.base import Segmenter
from tasks.perturbation import levels, quantise, statistics


@dataclass(frozen=True)
class AttackResult:
    """Adversarial examples uint8 N x 3 x H x W and the report that is stored beside them."""

    images: np.ndarray
    report: dict[str, Any]


def attack(
    model: Segmenter | None,
    spec: AttackSpec,
    images: np.ndarray,
    labels: np.ndarray,
    image_ids: Sequence[str],
    *,
    seed: int,
    group: int,
    micro_batch: int,
) -> AttackResult:
    """Attack one shard in micro-batches.

    ``images`` uint8 N x 3 x H x W, ``labels`` N x H x W with 255 ignored, all of schedule
    ``group``. The report holds perturbation statistics a image, the loop's health a micro-batch
    and the cost. Raises AssertionError if an 8-bit perturbation leaves the ball.
    """
    device = model.device if model else torch.device("cpu")
    before = model.cost if model else None
    outputs, health = [], []
    for first in range(0, len(images), micro_batch):
        part = slice(first, first + micro_batch)
        pixels = torch.tensor(images[part], device=device).float() / 255
        targets = torch.tensor(labels[part], device=device).long()
        adversarial, run_health = loop.run(
            model, spec, pixels, targets, image_ids[part], seed=seed, group=group
        )
        outputs.append(quantise(adversarial, images[part], spec.eps))
        health.append(asdict(run_health))
    result = np.concatenate(outputs)
    perturbation = statistics(result, images, spec.eps)
    worst = max(perturbation["linf"])
    assert worst <= levels(spec.eps), f"an adversarial example lies {worst} levels from its image"
    report = {
        "perturbation": perturbation,
        "health": health,
        "cost": asdict(model.cost - before) if model and before else {},
    }
    return AttackResult(result, report)
