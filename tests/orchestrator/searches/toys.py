"""A search whose optimum is known in closed form: the transfer from one grey toy to another.

Every image holds the same grey pixels, around ``GREY`` with a triangular histogram, all of class
``ground``. The source is linear, so each step of PGD brightens every pixel by the step size: after
the attack the histogram has moved up by ``shift`` levels. The target takes what is within
``REACH`` levels of ``CENTRE`` for ``thing``. So the share of fooled pixels rises up to a shift of
``CENTRE - GREY`` levels, and falls beyond it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from segtransfer.tasks.attacks.losses import LossContext
from tests.orchestrator.toy_experiments import toy

GREY, WIDTH = 100, 12  # levels: the middle and the width of the histogram
CENTRE, REACH = 132, 4  # levels: the range that the target labels as a thing
EPS, STEPS = 64, 2
BEST = (CENTRE - GREY) / STEPS  # levels a step
CURVATURE = 4.0
CLASSES = ["ground", "thing"]


def write_greys(folder: Path, *, count: int = 4, seed: int = 0, spread: int = 0) -> Path:
    """``count`` images that differ in where their greys are, and with ``spread`` in the middle of
    their histograms, evenly around ``GREY``."""
    generator = np.random.default_rng(seed)
    greys = [GREY + k for k in range(-WIDTH, WIDTH + 1) for _ in range(4 * (WIDTH + 1 - abs(k)))]
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        moved = round(spread * (2 * number / (count - 1) - 1)) if spread else 0
        pixels = generator.permutation(np.array(greys) + moved).reshape(26, 26).astype(np.uint8)
        name = f"grey-{seed}-{number}.png"
        Image.fromarray(np.repeat(pixels[..., None], 3, 2)).save(folder / "images" / name)
        Image.fromarray(np.zeros((26, 26), np.uint8)).save(folder / "labels" / name)
    return folder


BRIGHTER = [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]


def source(name: str = "source", delay: float = 0.0) -> dict[str, Any]:
    """Brighter is better, whatever the colour."""
    return toy(name, "linear", weights=BRIGHTER, delay=delay)


def meeting_place(journal: Path, clients: int) -> dict[str, Any]:
    """A source that begins once so many trials have come to the driver."""
    return toy("source", "awaiting", weights=BRIGHTER, journal=str(journal), clients=clients)


def target(name: str = "target", centre: int = CENTRE, reach: int = REACH) -> dict[str, Any]:
    """Label pixels within ``reach`` levels of ``centre`` as a thing."""
    bias = 3 * CURVATURE * ((reach + 0.5) / 255) ** 2
    grey = [centre / 255] * 3
    return toy(name, "quadratic", centre=grey, curvature=CURVATURE, bias=bias)


def drop_at(
    step_size: float, steps: int = STEPS, *, centre: int = CENTRE, reach: int = REACH
) -> float:
    """What mIoU loses, in points: the clean mIoU is 100, as no pixel is a thing; then the ground
    keeps the share that is not fooled, and the thing, which is nowhere, has an IoU of 0."""
    shift = min(round(255 * step_size * steps), EPS)
    away = centre - GREY - shift
    counts = {k: WIDTH + 1 - abs(k) for k in range(-WIDTH, WIDTH + 1)}
    fooled = sum(n for k, n in counts.items() if abs(k - away) <= reach) / sum(counts.values())
    return 50 + 50 * fooled if fooled else 0.0


def refusing(logits: torch.Tensor, labels: torch.Tensor, moment: LossContext) -> torch.Tensor:
    """A user's loss that raises."""
    raise RuntimeError("this loss refuses")
