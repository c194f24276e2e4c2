"""The attack task: one shard of images, one source model, all steps; returns 8-bit AEs."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segtransfer.errors import InputError
from segtransfer.tasks.attacks import loop
from segtransfer.tasks.attacks.file_hash import content_hash
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.batching import in_micro_batches, upload
from segtransfer.tasks.data.base import read_image
from segtransfer.tasks.data.names import file_name
from segtransfer.tasks.models.base import Cost, Segmenter
from segtransfer.tasks.perturbation import as_score, inside, quantise, statistics


@dataclass(frozen=True)
class AttackResult:
    """Adversarial examples uint8 M x N x 3 x H x W, one of the M for each of the spec's ``made``,
    and the report that is stored beside them."""

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
    poll: Callable[[], None] = lambda: None,
) -> AttackResult:
    """Attack one shard in micro-batches; ``poll`` is called before every step and may raise.

    ``images`` uint8 N x 3 x H x W, ``labels`` N x H x W with 255 ignored, all of schedule
    ``group``. The report holds, for each of ``made``, perturbation statistics an image; the loop's
    health a micro-batch; the model's numerics; the cost. Raises InputError for files that do not
    fit, AssertionError if an 8-bit perturbation leaves the ball.
    """
    before = model.cost if model else None
    health: list[dict[str, Any]] = []
    if spec.files is not None:
        result = read_files(spec, images, image_ids)[None]
    else:
        result, health = _make(
            model, spec, images, labels, image_ids, seed, group, micro_batch, poll
        )
    perturbations = [statistics(made, images, spec.eps) for made in result]
    for perturbation, made in zip(perturbations, spec.made, strict=True):
        assert inside(perturbation, spec), f"{made.name} left the ball: {perturbation}"
    report = {
        "perturbation": perturbations,
        "health": health,
        "numerics": asdict(model.numerics) if model else {},
        "cost": _cost(model, before, images, health, spec) if model and before else {},
    }
    return AttackResult(result, report)


def _make(
    model: Segmenter | None,
    spec: AttackSpec,
    images: np.ndarray,
    labels: np.ndarray,
    image_ids: Sequence[str],
    seed: int,
    group: int,
    micro_batch: int,
    poll: Callable[[], None],
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    device = model.device if model else torch.device("cpu")
    shard = upload(images, device).float() / 255
    shard_labels = upload(labels, device).long()

    def make(part: slice) -> tuple[np.ndarray, dict[str, Any]]:
        clean = shard[part]
        iterates, health = loop.run(
            model,
            spec,
            clean,
            shard_labels[part],
            image_ids[part],
            seed=seed,
            group=group,
            shard=shard,
            shard_ids=image_ids,
            poll=poll,
        )
        names = image_ids[part]
        scored = [as_score(x, clean, spec, s, names) for x in iterates for s in spec.scores]
        return np.stack([quantise(x, images[part], spec) for x in scored]), asdict(health)

    made, health = zip(*in_micro_batches(make, len(images), micro_batch), strict=True)
    return np.concatenate(made, axis=1), list(health)


def _cost(
    model: Segmenter,
    before: Cost,
    images: np.ndarray,
    health: list[dict[str, Any]],
    spec: AttackSpec,
) -> dict[str, Any]:
    """What the model was asked, and the forward equivalents that each of ``made`` took an image."""
    native = len(images) * model.pixels_seen(*images.shape[-2:])
    at_steps = [sum(run["pixels"][i] for run in health) for i in range(len(spec.steps_at) or 1)]
    equivalents = [pixels / native for pixels in at_steps for _ in spec.scores]
    return {**asdict(model.cost - before), "forward_equivalents": equivalents}


def read_files(spec: AttackSpec, clean: np.ndarray, image_ids: Sequence[str]) -> np.ndarray:
    """AEs made elsewhere, uint8 N x 3 x H x W, read from ``files``/<image id>.png, where the id may
    be written as ``file_name`` writes it.

    Raises InputError where one is missing, of another size, or outside the eps-ball.
    """
    folder = Path(str(spec.files))
    if not folder.is_dir() or content_hash(folder) != spec.files_sha256:
        raise InputError(f"attack '{spec.name}': files {folder} changed or vanished since the plan")
    made = []
    for image_id, original in zip(image_ids, clean, strict=True):
        path = folder / f"{file_name(image_id)}.png"
        if not path.is_file():
            path = folder / f"{image_id}.png"
        if not path.is_file():
            raise InputError(f"attack '{spec.name}': image {image_id} has no {path}")
        image = read_image(path).transpose(2, 0, 1)
        if image.shape != original.shape:
            raise InputError(
                f"attack '{spec.name}': {path} is {image.shape[1]} x {image.shape[2]} (height x "
                f"width), the image is {original.shape[1]} x {original.shape[2]}"
            )
        found = statistics(image[None], original[None], spec.eps)
        if not inside(found, spec):
            raise InputError(
                f"attack '{spec.name}': {path} lies {found['linf'][0]:.0f} levels (RMS "
                f"{found['rms'][0]:.2f}) from its image, eps is {spec.eps * 255:g} under "
                f"{spec.norm}; give the eps that it was made with"
            )
        made.append(image)
    return np.stack(made)
