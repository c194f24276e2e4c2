"""Ways to compute the same steps of an attack: a plain loop, ours, and torchattacks.

Benchmarks import this module. All ways get the same images, labels, eps and step size.
torchattacks (infra/oracles.txt) is no dependency of ours.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from segtransfer.tasks.attack import AttackResult, attack
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import Shard, make_shards
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.models import adapters as models
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.numerics import Numerics
from segtransfer.tasks.models.spec import ModelSpec

EPS, STEP_SIZE = 4 / 255, 1 / 255
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
VARIANTS = {
    "reference": "reference",
    "fold + channels_last": {"fold": True, "channels_last": True},
    "fold + channels_last + bf16": {"fold": True, "channels_last": True, "bf16": True},
    "fast": "fast",
}


@dataclass(frozen=True)
class Batch:
    """Images of a shard in host memory, and on the device as a plain loop takes them.

    Attributes:
        images: uint8 N x 3 x H x W, RGB.
        classes: uint8 N x H x W; every pixel has a class.
        image_ids: An id per image.
        pixels: ``images`` as float32 in [0, 1], on the device.
        labels: ``classes`` as int64, on the device.
    """

    images: np.ndarray
    classes: np.ndarray
    image_ids: tuple[str, ...]
    pixels: torch.Tensor
    labels: torch.Tensor


class Bare(nn.Module):
    """The network as a user of torchattacks would wrap it: normalisation, logits, no more."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model.logits(images)


def numerics_of(variant: str) -> Numerics:
    return Numerics.model_validate(VARIANTS[variant])


def load(name: str, variant: str = "reference", device: str = DEVICE) -> Segmenter:
    return models.load(ModelSpec.model_validate(name), device, numerics_of(variant))


def sample(images: int, size: tuple[int, int] | None = None) -> Shard:
    """Return sample images as a shard; ``size`` is their height and width, default native."""
    spec = DataSpec.model_validate({"sample": "camvid", "images": images, "size": size})
    (shard,) = make_shards(open_dataset(spec), spec, groups=1, shard_size=images)
    return shard


def batch_of(
    images: np.ndarray, labels: np.ndarray, image_ids: tuple[str, ...], model: Segmenter
) -> Batch:
    """Return a batch on the model's device.

    torchattacks knows no ignored pixel, so pixels without a label take the clean prediction.
    """
    pixels = torch.tensor(images, device=model.device).float() / 255
    classes = torch.tensor(labels, device=model.device).long()
    with torch.no_grad():
        classes = torch.where(classes == 255, model(pixels).max(1).indices, classes)
    return Batch(images, classes.cpu().numpy().astype(np.uint8), image_ids, pixels, classes)


def plain_steps(model: Segmenter, batch: Batch, steps: int) -> Callable[[], object]:
    """Return a loop of forward and input gradient, and nothing else."""

    def gradients() -> None:
        for _ in range(steps):
            inputs = batch.pixels.clone().requires_grad_(True)
            loss = F.cross_entropy(model.logits(inputs), batch.labels)
            torch.autograd.grad(loss, inputs)

    return gradients


def has_torchattacks() -> bool:
    return find_spec("torchattacks") is not None


def their_steps(
    model: Segmenter, batch: Batch, steps: int, preset: str = "pgd"
) -> Callable[[], object]:
    """Return PGD or MI of torchattacks."""
    import torchattacks

    options = {"eps": EPS, "alpha": STEP_SIZE, "steps": steps}
    # A wrapper in training mode would set the model to this mode after each attack.
    bare = Bare(model).eval()
    theirs = (
        torchattacks.PGD(bare, random_start=False, **options)
        if preset == "pgd"
        else torchattacks.MIFGSM(bare, decay=1.0, **options)
    )
    return lambda: theirs(batch.pixels, batch.labels)


def our_steps(
    model: Segmenter, batch: Batch, steps: int, preset: str = "pgd"
) -> Callable[[], AttackResult]:
    """Return a preset of ours, all images in a single micro-batch."""
    fields = {"preset": preset, "eps": EPS, "step_size": STEP_SIZE, "steps": steps}
    spec = AttackSpec.model_validate(fields)
    arguments = (model, spec, batch.images, batch.classes, batch.image_ids)
    return lambda: attack(*arguments, seed=0, group=0, micro_batch=len(batch.images))


def seconds(call: Callable[[], object], threads: int) -> float:
    """CPU seconds of this thread where it does all the work, so that neighbours do not count."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    clock = time.thread_time if DEVICE == "cpu" and threads == 1 else time.perf_counter
    began = clock()
    call()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return clock() - began
