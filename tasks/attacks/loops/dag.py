"""DAG, dense adversary generation: gradient steps on the pixels not fooled yet, until 99 % are."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, TypeAlias

import torch
from typing_extensions import override

from segtransfer.tasks.attacks.context import AttackContext
from segtransfer.tasks.attacks.loops.attempt import Attempt
from segtransfer.tasks.attacks.loops.smallest import (
    count_fooled,
    difference,
    gradient_logits,
    rounded,
    score,
)
from segtransfer.tasks.attacks.loops.spec import LOOPS, LoopSpec
from segtransfer.tasks.labels import IGNORE_INDEX

Best: TypeAlias = (
    "list[tuple[int, torch.Tensor]]"  # per image, its fooled pixels and the image 3 x H x W
)
Tried = list[float]  # per image, the largest norm at which an iterate was scored once rounded
LEAST_NORM = 1e-8  # of a gradient


@LOOPS.add("dag")
class Dag(LoopSpec):
    """DAG (Xie et al., ICCV 2017): steps g / max|g| until 99 % of the pixels are fooled.

    g is the gradient of the sum, over the pixels not fooled yet, of max_{k != y} z_k - z_y, for a
    target y of z_y - max_{k != y} z_k. ``step_size`` is the L-infinity norm of a step, ``steps``
    the largest number of steps, ``eps`` the largest norm allowed.

    The rule is adversarial-library's, by the authors of ALMA-prox. DAG's own code climbs from the
    predicted class to random target classes instead of the nearest class, and stops with the
    pixels off their target at 1 % of the object's. Unlike in adversarial-library, an image stops at
    the first iterate with 99 % fooled pixels once rounded to 8 bits, away from the clean image;
    without such an iterate the result is the iterate with most fooled pixels, not the clean image.
    An ensemble is attacked through the mean of its members' logits.

    Attributes:
        kind: The name, ``dag``.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"step_size", "target", "region", "steps_at"})
    minimises_norm: ClassVar[bool] = True

    kind: Literal["dag"] = "dag"

    @property
    @override
    def extra_forwards(self) -> float:
        return 1.0  # of an iterate scored once rounded, at least

    @override
    def run(self, context: AttackContext, restart: int, poll: Callable[[], None]) -> Attempt:
        spec, attempt, before = context.spec, Attempt(), context.model.cost.pixels
        best: Best = [(-1, image) for image in context.clean]
        tried: Tried = [-1.0] * len(best)
        delta, rows = torch.zeros_like(context.clean), list(range(len(context.clean)))
        for step in range(spec.steps_taken):
            if rows:
                poll()
                rows = _step(context, delta, rows, best, tried, attempt)
            if step + 1 in (spec.steps_at or (spec.steps_taken,)):
                attempt.iterates.append(torch.stack([image for _, image in best]))
                attempt.pixels.append(context.model.cost.pixels - before)
        return attempt


def _step(
    context: AttackContext,
    delta: torch.Tensor,
    rows: list[int],
    best: Best,
    tried: Tried,
    attempt: Attempt,
) -> list[int]:
    """Score the iterates of images, then take a step of each.

    Args:
        context: The model, the clean images and the labels.
        delta: The perturbations before bounds, N x 3 x H x W; changed in place.
        rows: The indices of the images not finished.
        best: The best iterate of each of the N images; changed in place.
        tried: The norm tried of each of the N images; changed in place.
        attempt: The health of the run, which gets a step.

    Returns:
        The indices of the images still not finished.
    """
    lower, upper = context.lower[rows], context.upper[rows]
    moved = (context.clean[rows] + delta[rows]).requires_grad_(True)
    x = moved.clamp(lower, upper)
    logits = gradient_logits(context, x)
    images = rounded(x.detach(), context.clean[rows], 255 * context.spec.eps)
    finished = _keep_best(context, logits.detach(), images, rows, best, tried)
    labels = context.labels[rows]
    sign = -1 if context.spec.target is not None else 1
    margin = (sign * difference(logits, labels) * (labels != IGNORE_INDEX)).relu().sum((1, 2))
    gradient = context.model.gradient(margin.sum(), moved)
    if context.region is not None:
        gradient = gradient * context.region[rows]
    largest = gradient.abs().amax((1, 2, 3), keepdim=True).clamp(min=LEAST_NORM)
    delta[rows] -= context.spec.step_size * gradient / largest
    zeros = torch.zeros_like(context.clean[:, 0, 0, 0])
    at = torch.tensor(rows, device=zeros.device)
    attempt.losses.append(zeros.index_copy(0, at, -margin.detach()))
    share = 1 - gradient.sign().abs().mean((1, 2, 3))
    attempt.zero_gradients.append(zeros.index_copy(0, at, share))
    unknown = torch.zeros_like(zeros, dtype=torch.bool)
    attempt.not_a_number.append(unknown.index_copy(0, at, gradient.amax((1, 2, 3)).isnan()))
    attempt.ratios.append([])
    return [row for row in rows if row not in finished]


def _keep_best(
    context: AttackContext,
    logits: torch.Tensor,
    images: torch.Tensor,
    rows: list[int],
    best: Best,
    tried: Tried,
) -> set[int]:
    """Keep the iterates with most fooled pixels, and return the finished images.

    Args:
        context: The model and the labels.
        logits: Logits of the iterates, N x K x h x w.
        images: The iterates rounded to 8 bits, N x 3 x H x W. An iterate with 99 % fooled pixels
            before rounding is scored once more if its norm was not tried yet.
        rows: The indices of the images among those of the context.
        best: The best iterate of each image; changed in place.
        tried: The norm tried of each image; changed in place.
    """
    counted = count_fooled(context, logits, rows)
    norms = (255 * (images - context.clean[rows])).abs().amax((1, 2, 3)).round().tolist()
    counts, reached = counted.counts.tolist(), counted.reached.tolist()
    hits = [p for p, row in enumerate(rows) if reached[p] and norms[p] > tried[row]]
    finished = set()
    if hits:
        scored = score(context, images[hits], [rows[place] for place in hits])
        finished = {rows[hits[i]] for i in scored.reached.nonzero()[:, 0].tolist()}
        for place, count in zip(hits, scored.counts.tolist(), strict=True):
            counts[place], tried[rows[place]] = count, norms[place]
    for place, (row, count) in enumerate(zip(rows, counts, strict=True)):
        if row in finished or count >= best[row][0]:
            best[row] = count, images[place]
    return finished
