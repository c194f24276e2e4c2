"""ALMA-prox: the smallest L-infinity perturbation, by an augmented Lagrangian and a prox."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from typing_extensions import override

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.context import AttackContext
from segtransfer.tasks.attacks.loops.attempt import Attempt
from segtransfer.tasks.attacks.loops.smallest import (
    Fooled,
    begin,
    count_fooled,
    difference,
    gradient_logits,
    note,
    settle,
)
from segtransfer.tasks.attacks.loops.spec import LOOPS, LoopSpec
from segtransfer.tasks.attacks.losses import mean_labelled
from segtransfer.tasks.fooled import PERCENT
from segtransfer.tasks.labels import IGNORE_INDEX

# Constants of the authors' code, in the paper's symbols.
DECAY = 0.8  # alpha, of the averages of multipliers and squared gradients
LAST_STEP = 0.1  # the last step size over the first
CHECKED = 10  # M, steps between checks of the constraints
IMPROVED = 0.95  # tau: a constraint below this multiple of its last value has improved
GROWTH = 2.0  # gamma, of the penalty parameter of a constraint that has not
PENALTY = 0.01  # rho at the start; the multiplier mu is 1
LEAST_SCALE = 0.1  # w of the constraints, at most 1
SCALE_RATE = 0.02  # of w per step
LOGIT_MARGIN = 1e-4  # added to the difference of logits
LEAST_METRIC = 1e-8  # of the root of the averaged squared gradient
HALVINGS = 32  # of the interval of the prox: 2^-32 of the largest value


@LOOPS.add("alma-prox")
class AlmaProx(LoopSpec):
    """ALMA-prox (Rony et al., CVPR 2023): the smallest L-infinity norm to fool 99 % of pixels.

    Minimises the norm under a constraint per pixel, the difference of logits ratio DLR <= 0. The
    loss is a penalty of the scaled constraints w DLR with a multiplier mu and a parameter rho per
    pixel; the step is a gradient step in the metric of RMSprop, then the prox of the norm in this
    metric. The constraints hardest to meet, a share that rises to 1 %, are left out. ``eps`` is the
    largest norm allowed, ``step_size`` the first step size.

    The rule and its constants are those of the authors' code, adversarial-library. Its derivative
    of the penalty, which is taken over, begins with mu y at y >= 0, although the penalty mu y + ...
    has the derivative mu + .... Unlike there, the prox is found by bisection to float precision,
    each image on its own, and the result has the smallest norm among iterates with 99 % fooled
    pixels once rounded to 8 bits, away from the clean image. An ensemble is attacked through
    the mean of its members' logits.

    Attributes:
        kind: The name, ``alma-prox``.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"step_size", "target", "region", "steps_at"})
    minimises_norm: ClassVar[bool] = True

    kind: Literal["alma-prox"] = "alma-prox"

    @property
    @override
    def extra_forwards(self) -> float:
        return 1.0  # of the up to three candidates scored once rounded, as measured

    @override
    def run(self, context: AttackContext, restart: int, poll: Callable[[], None]) -> Attempt:
        spec, attempt, before = context.spec, Attempt(), context.model.cost.pixels
        _check_classes(context)
        state, candidates = _begin(context), begin(context)
        for step in range(spec.steps_taken):
            poll()
            x = (context.clean + state.delta).requires_grad_(True)
            logits = gradient_logits(context, x)
            counted = count_fooled(context, logits.detach())
            note(candidates, context, x.detach(), counted)
            ratio = difference_ratio(logits, context.labels, targeted=spec.target is not None)
            weights = _weigh(context, state, ratio.detach(), counted, step)
            gradient = context.model.gradient((weights * ratio).sum(), x)
            _descend(context, state, gradient, step)
            attempt.losses.append(-mean_labelled(ratio.detach(), context.labels))
            attempt.zero_gradients.append(1 - gradient.sign().abs().mean((1, 2, 3)))
            attempt.not_a_number.append((gradient + state.delta).amax((1, 2, 3)).isnan())
            attempt.ratios.append([])
            if step + 1 in (spec.steps_at or (spec.steps_taken,)):
                attempt.iterates.append(settle(candidates, context))
                attempt.pixels.append(context.model.cost.pixels - before)
        return attempt


@dataclass
class _Variables:
    """The variables of a run: N images, h x w labels.

    Attributes:
        delta: The perturbation, float N x 3 x H x W.
        squares: The average of squared gradients, float N x 3 x H x W.
        multiplier: mu per pixel, double N x h x w.
        penalty: rho per pixel, double N x h x w.
        scale: w, float N.
        checked: The constraints at the last check, float N x h x w.
        met: Whether a pixel was fooled since the last check, bool N x h x w.
        found: Whether an iterate has fooled 99 % of the pixels, bool N.
        found_at: The step of the first such iterate, half of all steps if there is none, float N.
    """

    delta: torch.Tensor
    squares: torch.Tensor
    multiplier: torch.Tensor
    penalty: torch.Tensor
    scale: torch.Tensor
    checked: torch.Tensor
    met: torch.Tensor
    found: torch.Tensor
    found_at: torch.Tensor


def difference_ratio(logits: torch.Tensor, labels: torch.Tensor, *, targeted: bool) -> torch.Tensor:
    """Return DLR, the difference of logits over their spread, at most 0 at fooled pixels.

    (z_y - max_{k != y} z_k) / (z_(1) - z_(3)), z_(i) the i-th largest logit; for a target the
    negated difference over z_(1) - (z_(3) + z_(4)) / 2. Croce and Hein, ICML 2020.

    Args:
        logits: float N x K x h x w, K at least 3, for a target 4.
        labels: int64 N x h x w; pixels of 255 have a value without meaning.
        targeted: Whether the labels are a target.

    Returns:
        float N x h x w.
    """
    top = logits.topk(4 if targeted else 3, dim=1).values
    lowest = (top[:, -2] + top[:, -1]) / 2 if targeted else top[:, -1]
    ratio = (difference(logits, labels) + LOGIT_MARGIN) / (top[:, 0] - lowest + LEAST_METRIC)
    return -ratio if targeted else ratio


def prox(
    point: torch.Tensor,
    step: torch.Tensor,
    metric: torch.Tensor,
    lower: torch.Tensor,
    upper: torch.Tensor,
) -> torch.Tensor:
    """Return argmin_p step |p|_inf + 1/2 sum metric (p - point)^2 with lower <= p <= upper.

    The minimiser is the projection of the point onto [lower, upper], cut at +-t, with t such that
    the sum of metric (|point| - t) over the values cut is ``step``.

    Args:
        point: float N x 3 x H x W.
        step: The weight of the norm, float N, 0 or more.
        metric: Weights of the values, float N x 3 x H x W, more than 0.
        lower: At most 0, float N x 3 x H x W.
        upper: At least 0, float N x 3 x H x W.

    Returns:
        float N x 3 x H x W.
    """
    projected = torch.minimum(torch.maximum(point, lower), upper)
    size, height, weight = (t.flatten(1) for t in (point.abs(), projected.abs(), metric))
    high = height.amax(1, keepdim=True)
    low = torch.zeros_like(high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        pull = (weight * (size - middle) * (height > middle)).sum(1, keepdim=True)
        above = pull > step[:, None]
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    cut = ((low + high) / 2)[..., None, None]
    return torch.minimum(torch.maximum(projected, -cut), cut)


def slope(y: torch.Tensor, penalty: torch.Tensor, multiplier: torch.Tensor) -> torch.Tensor:
    """Return the derivative of the penalty of a constraint y <= 0, as in the authors' code.

    Args:
        y: The scaled constraint, of any shape.
        penalty: rho, more than 0, of the same shape.
        multiplier: mu, in [0, 1], of the same shape.

    Returns:
        mu y + 2 mu rho y + rho^2 y^2 / 2 for y >= 0, else mu / (1 - max(1, rho) y)^2.
    """
    above = multiplier * y + 2 * multiplier * penalty * y + penalty**2 * y**2 / 2
    below = multiplier / (1 - penalty.clamp(min=1) * y.clamp(max=0)).square()
    return torch.where(y >= 0, above, below)


def _check_classes(context: AttackContext) -> None:
    """Refuse a model with too few classes for the ratio of logits."""
    targeted = context.spec.target is not None
    least = 4 if targeted else 3
    if context.model.num_classes < least:
        raise InputError(
            f"loop alma-prox divides by the logit of rank {least}, and {context.model.who} "
            f"predicts {context.model.num_classes} classes; give loop: dag, or a source with "
            f"{least} classes or more"
        )


def _begin(context: AttackContext) -> _Variables:
    labels, count = context.labels, len(context.clean)
    zeros = torch.zeros_like(context.clean[:, 0, 0, 0])
    return _Variables(
        delta=torch.zeros_like(context.clean),
        squares=torch.zeros_like(context.clean),
        multiplier=torch.ones_like(labels, dtype=torch.double),
        penalty=torch.full_like(labels, PENALTY, dtype=torch.double),
        scale=zeros + 1,
        checked=torch.zeros_like(labels, dtype=context.clean.dtype),
        met=torch.zeros_like(labels, dtype=torch.bool),
        found=torch.zeros(count, dtype=torch.bool, device=labels.device),
        found_at=zeros + context.spec.steps // 2,
    )


def _weigh(
    context: AttackContext, state: _Variables, ratio: torch.Tensor, counted: Fooled, step: int
) -> torch.Tensor:
    """Update scale, penalties and multipliers, and return d penalty / d DLR per pixel."""
    steps = context.spec.steps
    state.met |= counted.pixels
    if step < steps // 2:
        state.found_at = torch.where(
            ~state.found & counted.reached, torch.full_like(state.found_at, step), state.found_at
        )
    state.found |= counted.reached
    rate = torch.where(counted.reached, 1 + SCALE_RATE, 1 - SCALE_RATE).to(state.scale)
    state.scale = (state.scale / rate).clamp(LEAST_SCALE, 1)
    scale = state.scale[:, None, None]
    constraints = scale * ratio
    mask = _kept(constraints, context.labels != IGNORE_INDEX, step / max(steps - 1, 1))
    if step == 0:
        state.checked = constraints
    elif (step + 1) % CHECKED == 0:
        improved = constraints * mask <= IMPROVED * state.checked
        grown = torch.where(state.met | improved, state.penalty, GROWTH * state.penalty)
        state.penalty, state.checked = grown, constraints
        state.met = torch.zeros_like(state.met)
    y = constraints.double()
    if step:
        new = slope(y, state.penalty, state.multiplier) * mask
        state.multiplier = state.multiplier.lerp(new, 1 - DECAY).clamp(1e-12, 1)
    slopes = slope(y, state.penalty, state.multiplier) * mask
    return slopes.to(ratio) * scale


def _kept(constraints: torch.Tensor, labelled: torch.Tensor, progress: float) -> torch.Tensor:
    """Return the mask of the constraints of a step, bool N x h x w.

    The largest are left out: 1 % of the labelled pixels, times the progress from 0 to 1.
    """
    allowed = (1 - PERCENT / 100) * labelled.sum((1, 2)).float()
    counts = (allowed * progress).long()
    most = int(counts.max())
    if most == 0:
        return labelled
    ranked = constraints.masked_fill(~labelled, -torch.inf).flatten(1).topk(most).values
    last = ranked.gather(1, (counts - 1).clamp(min=0)[:, None])
    last = torch.where(counts[:, None] > 0, last, torch.inf)
    return labelled & (constraints <= last[..., None])


def _descend(context: AttackContext, state: _Variables, gradient: torch.Tensor, step: int) -> None:
    """Take a gradient step in the metric of averaged squared gradients, then the prox."""
    spec = context.spec
    if context.region is not None:
        gradient = gradient * context.region
    tangent = LAST_STEP / (1 - LAST_STEP) * (spec.steps - state.found_at).clamp(min=1)
    size = spec.step_size * tangent / ((step - state.found_at).clamp(min=0) + tangent)
    state.squares.mul_(DECAY).addcmul_(gradient, gradient, value=1 - DECAY)
    metric = (state.squares / (1 - DECAY ** (step + 1))).sqrt().clamp(min=LEAST_METRIC)
    point = state.delta - size[:, None, None, None] / metric * gradient
    lower, upper = context.lower - context.clean, context.upper - context.clean
    state.delta = prox(point, size, metric, lower, upper)
