"""An attack, or per image the strongest of several, as the source alone tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from segtransfer.tasks.attacks import loop
from segtransfer.tasks.attacks.context import AttackContext, ShardImages, make_context
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.perturbation import quantise

if TYPE_CHECKING:
    from segtransfer.tasks.models.base import Segmenter


def run(
    model: Segmenter | None,
    spec: AttackSpec,
    images: torch.Tensor,
    labels: torch.Tensor,
    image_ids: Sequence[str],
    *,
    seed: int,
    group: int,
    shard: ShardImages | None = None,
    poll: Callable[[], None] = lambda: None,
) -> tuple[list[torch.Tensor], loop.Health]:
    """Make adversarial examples as ``loop.run``; with ``worst_of``, keep the strongest per image.

    The strongest image has most labelled pixels fooled on the source (or on the target labels of a
    targeted attack), rounded to 8 bits as it is stored; the first of equals. Other models are never
    asked.

    Args:
        model: The source on its device, or None for an attack of zero steps.
        spec: The attack.
        images: Clean images, float N x 3 x H x W in [0, 1], whole 8-bit levels.
        labels: int64 N x h x w, 255 ignored.
        image_ids: An id per image.
        seed: The seed of the experiment.
        group: The schedule group of all images.
        shard: All clean images of the shard, by default ``images``.
        poll: Called before every step; an exception stops the run.

    Returns:
        The iterates and the health of the run. With ``worst_of`` a single iterate, and per image
        the health of its member, for the number of steps of the shortest member; the pixels count
        all members and their scoring.

    Raises:
        InputError: As ``loop.run``.
        ValueError: If an attack with steps gets no model.
    """
    if model is None or not spec.worst_of:
        return loop.run(
            model, spec, images, labels, image_ids, seed=seed, group=group, shard=shard, poll=poll
        )
    before = model.cost.pixels
    made = [
        run(model, part, images, labels, image_ids, seed=seed, group=group, shard=shard, poll=poll)
        for part in spec.worst_of
    ]
    context = make_context(model, spec, images, labels, image_ids, seed=seed, group=group)
    choice = _strongest(context, [adversarial for (adversarial,), _ in made])
    return _per_image(made, choice, model.cost.pixels - before)


def _per_image(
    made: Sequence[tuple[list[torch.Tensor], loop.Health]], choice: list[int], pixels: int
) -> tuple[list[torch.Tensor], loop.Health]:
    """Return the images and the health of the member chosen for each image."""
    kept = torch.stack([made[m][0][0][i] for i, m in enumerate(choice)])
    healths = [health for _, health in made]
    return [kept], loop.Health(
        _chosen([health.losses for health in healths], choice),
        _chosen([health.zero_gradients for health in healths], choice),
        healths[0].ratios,
        [pixels],
    )


def _strongest(context: AttackContext, made: Sequence[torch.Tensor]) -> list[int]:
    """Return per image the number of the member whose 8-bit image fools most pixels."""
    clean = (context.clean * 255).round().to(torch.uint8).cpu().numpy()
    shares = []
    for adversarial in made:
        stored = torch.from_numpy(quantise(adversarial, clean, context.spec))
        shares.append(loop.fooled_share(context, stored.to(context.clean.device).float() / 255))
    return [int(number) for number in torch.stack(shares).max(0).indices]


def _chosen(values: list[list[list[float]]], choice: list[int]) -> list[list[float]]:
    """Return the values per step and image of the member chosen for each image."""
    steps = min(map(len, values))
    return [[values[m][step][i] for i, m in enumerate(choice)] for step in range(steps)]
