"""The attack task: all steps on a shard of images and a source; returns 8-bit AEs."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from segtransfer.errors import SegtransferError
from segtransfer.tasks.ae_files import read_files
from segtransfer.tasks.appearance import appearance
from segtransfer.tasks.attacks import strongest
from segtransfer.tasks.attacks.context import ShardImages
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.batching import fitting_memory, in_micro_batches, upload
from segtransfer.tasks.models.base import Cost, Segmenter
from segtransfer.tasks.perturbation import as_score, inside, quantise, statistics


@dataclass(frozen=True)
class AttackResult:
    """Adversarial examples of a shard.

    Attributes:
        images: uint8 M x N x 3 x H x W, RGB: M variants of the spec, N clean images.
        report: The JSON stored beside the images: perturbation and its appearance, health, numerics
            and cost.
    """

    images: np.ndarray
    report: dict[str, Any]


@dataclass(frozen=True)
class _Call:
    """The images of a call, with all inputs of the attack except the model."""

    spec: AttackSpec
    images: np.ndarray
    labels: np.ndarray
    image_ids: Sequence[str]
    seed: int
    group: int


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
    poll: Callable[[], None] = lambda: None,
) -> AttackResult:
    """Attack a shard of images in micro-batches.

    Args:
        model: The source, or None for an attack of zero steps.
        spec: The attack.
        images: Clean images, uint8 N x 3 x H x W.
        labels: Class indices, uint8 N x h x w; 255 is ignored.
        image_ids: An id per image, which seeds the image's noise.
        seed: The seed of the experiment.
        group: The schedule group of all images.
        micro_batch: The largest number of images per forward, 1 or more.
        poll: Called before every step; an exception stops the call.

    Returns:
        The 8-bit adversarial examples and their report: perturbation statistics per variant, the
        health of the loop per micro-batch, the numerics and the cost of the model.

    Raises:
        InputError: If ``files`` do not fit, a value of a step is NaN, or model or loss fails.
        SegtransferError: If an 8-bit perturbation leaves the ball, which is a defect.
    """
    before = model.cost if model else None
    health: list[dict[str, Any]] = []
    if spec.files is not None:
        adversarial = read_files(spec, images, image_ids)[None]
    else:
        call = _Call(spec, images, labels, image_ids, seed, group)
        adversarial, health = _make(model, call, micro_batch, poll)
    report = {
        "perturbation": _measure(adversarial, images, spec),
        "appearance": [appearance(made, images) for made in adversarial],
        "health": health,
        **(model.facts if model else {"numerics": {}}),
        "cost": _cost(model, before, images, health, spec) if model and before else {},
    }
    return AttackResult(adversarial, report)


def _make(
    model: Segmenter | None, call: _Call, micro_batch: int, poll: Callable[[], None]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Run the attack loop on the images of a call, a micro-batch at a time.

    Returns:
        Adversarial examples uint8 M x N x 3 x H x W, and the loop's health per micro-batch.
    """
    device = model.device if model else torch.device("cpu")
    spec, image_ids = call.spec, call.image_ids
    shard = ShardImages(upload(call.images, device).float() / 255, tuple(image_ids))
    labels = upload(call.labels, device).long()

    def make(part: slice) -> tuple[np.ndarray, dict[str, Any]]:
        clean, names = shard.images[part], image_ids[part]
        iterates, health = strongest.run(
            model,
            spec,
            clean,
            labels[part],
            names,
            seed=call.seed,
            group=call.group,
            shard=shard,
            poll=poll,
        )
        scored = [as_score(x, clean, spec, s, names) for x in iterates for s in spec.scores]
        return np.stack([quantise(x, call.images[part], spec) for x in scored]), asdict(health)

    fitting = fitting_memory(call.images, device)
    made = in_micro_batches(make, len(call.images), micro_batch, fitting)
    batches, health = zip(*made, strict=True)
    return np.concatenate(batches, axis=1), list(health)


def _measure(
    adversarial: np.ndarray, clean: np.ndarray, spec: AttackSpec
) -> list[dict[str, list[float]]]:
    """Return the perturbation statistics of each variant.

    Raises:
        SegtransferError: If a perturbation leaves the ball.
    """
    measured = [statistics(images, clean, spec.eps) for images in adversarial]
    for perturbation, variant in zip(measured, spec.variants, strict=True):
        if not inside(perturbation, spec):
            raise SegtransferError(
                f"attack '{variant.name}': an AE differs by {max(perturbation['linf']):.0f} levels "
                f"(RMS {max(perturbation['rms']):.2f}) from its image, eps is {spec.eps * 255:g} "
                f"levels under {spec.norm}; please report this defect of segtransfer"
            )
    return measured


def _cost(
    model: Segmenter,
    before: Cost,
    images: np.ndarray,
    health: list[dict[str, Any]],
    spec: AttackSpec,
) -> dict[str, Any]:
    """Return the model's cost of a call, with forward equivalents per image for each variant."""
    native = len(images) * model.pixels_seen(*images.shape[-2:])
    at_steps = [sum(run["pixels"][i] for run in health) for i in range(len(spec.steps_at) or 1)]
    equivalents = [pixels / native for pixels in at_steps for _ in spec.scores]
    return {**asdict(model.cost - before), "forward_equivalents": equivalents}
