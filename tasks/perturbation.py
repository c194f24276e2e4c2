"""8-bit images: rounding of adversarial examples, scored forms, statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from segtransfer.tasks.attacks.components import Smoothing
from segtransfer.tasks.attacks.gradients import smooth
from segtransfer.tasks.attacks.scoring import scale_of
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.transforms.views import resize, snap
from segtransfer.tasks.randomness import image_noise

STATISTICS = ("linf", "rms", "mean_abs", "at_bound", "psnr")
BLUR = Smoothing(kernel=9)  # of ``smooth``: a standard deviation of 4/3 pixels


def levels(eps: float) -> int:
    """Return the L-infinity bound in 8-bit levels.

    Args:
        eps: The bound, a fraction of the pixel range [0, 1].

    Returns:
        The largest whole number up to eps * 255, with a tolerance of 1e-6 for rounding errors.
    """
    return int(np.floor(eps * 255 + 1e-6))


def as_score(
    adversarial: torch.Tensor,
    clean: torch.Tensor,
    spec: AttackSpec,
    score: str,
    image_ids: Sequence[str],
) -> torch.Tensor:
    """Return an iterate in a scored form.

    Values outside the ball or the box [0, 1] are cut. An image with too little room for the root
    mean square gets the largest possible.

    A bilinear resize is linear, so a model with ``inference.scale`` sees the resized image plus
    the resized perturbation. An AE scored as ``equal-rms@SCALE`` is thus seen as if its
    perturbation were added after the resize, with the energy restored that the resize takes.

    Args:
        adversarial: The iterate, float N x 3 x H x W in [0, 1].
        clean: Clean images, float N x 3 x H x W in [0, 1].
        spec: The attack, with its ball and ``equal_rms``.
        score: ``raw``; ``eps*sign`` pushes every changed value to the bound; ``equal-rms`` scales
            the perturbation until its 8-bit root mean square is ``equal_rms`` * eps;
            ``equal-rms@SCALE`` measures the root mean square after a resize by SCALE, as
            ``inference.scale`` of a model that takes images of any size; ``smooth`` is
            ``equal-rms`` of the perturbation blurred by ``BLUR``. Of random signs scaled to a root
            mean square of 0.35 eps, a resize by 0.5 then keeps 93 % at eps 8/255 and 91 % at 4/255,
            and 50 % without the blur.
        image_ids: An id per image, which seeds the rounding thresholds of scaled forms.

    Returns:
        float N x 3 x H x W in [0, 1].
    """
    if score == "raw":
        return adversarial
    delta = smooth(adversarial - clean, BLUR if score == "smooth" else None)
    # Differences up to 1e-7 are rounding errors of unchanged values.
    sign = torch.where(delta.abs() > 1e-7, delta.sign(), torch.zeros_like(delta))
    if score == "eps*sign":
        return (clean + spec.eps * sign).clamp(0, 1)
    return clean + sign * _scaled_levels(delta, sign, clean, spec, image_ids, scale_of(score)) / 255


def _scaled_levels(
    delta: torch.Tensor,
    sign: torch.Tensor,
    clean: torch.Tensor,
    spec: AttackSpec,
    image_ids: Sequence[str],
    scale: float,
) -> torch.Tensor:
    """Return the change of each value in whole levels, N x 3 x H x W, to reach the RMS at a scale.

    A value between two levels is rounded up with a probability equal to its fraction, drawn by
    image id. With equal rounding everywhere, sign attacks could reach whole levels only.
    """
    shape = tuple(delta.shape[1:])
    drawn = [(image_noise(0, i, shape, "rounding") + 1) / 2 for i in image_ids]
    thresholds = torch.stack(drawn).to(delta.device)
    room = torch.where(sign > 0, 1 - clean, clean) * 255 + 1e-3
    if spec.norm == "linf":
        room = room.clamp(max=levels(spec.eps))

    def moved(factor: torch.Tensor) -> torch.Tensor:
        return torch.minimum((factor * delta.abs() * 255 + thresholds).floor(), room.floor())

    # Bisection over log2 of the factor, because the root mean square rises with the factor.
    low = torch.full((len(delta), 1, 1, 1), -10.0, device=delta.device)
    high = -low
    for _ in range(24):
        middle = (low + high) / 2
        change = moved(middle.exp2()) * sign
        above = _rms(_resized(change, scale)) > spec.equal_rms * spec.eps * 255
        if spec.norm == "l2":  # a resize may take more than the ball leaves to restore
            above |= _rms(change) > spec.eps * 255
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return moved(low.exp2())


def _rms(change: torch.Tensor) -> torch.Tensor:
    return change.square().mean((1, 2, 3), keepdim=True).sqrt()


def _resized(change: torch.Tensor, scale: float) -> torch.Tensor:
    """Return a change as a model at a scale sees the change, N x 3 x h x w."""
    if scale == 1:
        return change
    height, width = change.shape[-2:]
    return resize(change, snap(height, width, (scale, scale), divisor=1)).images


def quantise(adversarial: torch.Tensor, clean: np.ndarray, spec: AttackSpec) -> np.ndarray:
    """Round adversarial examples to uint8, within the ball around the clean images.

    The result is stored, and every target is scored on the stored images.

    Args:
        adversarial: float N x 3 x H x W in [0, 1].
        clean: uint8 N x 3 x H x W.
        spec: The attack, with ``norm`` and ``eps``.

    Returns:
        uint8 N x 3 x H x W; at most ``levels(eps)`` from clean under linf, with a root mean square
        of at most 255 eps levels under l2.
    """
    exact = (adversarial.double() * 255).cpu().numpy()
    rounded = exact.round().astype(np.int16)
    original = clean.astype(np.int16)
    if spec.norm == "linf":
        bound = levels(spec.eps)
        kept = np.clip(rounded, original - bound, original + bound)
    else:
        kept = np.stack(
            [_within_l2(*image, spec.eps) for image in zip(exact, rounded, original, strict=True)]
        )
    return np.ascontiguousarray(kept.clip(0, 255).astype(np.uint8))


def _within_l2(
    exact: np.ndarray, rounded: np.ndarray, original: np.ndarray, eps: float
) -> np.ndarray:
    """Round as few values as necessary towards ``original`` instead of to the nearest level.

    Values moved outwards most by rounding come first. With all values rounded towards ``original``
    the image is inside the ball.
    """
    delta = (rounded - original).astype(np.int64).ravel()
    outwards = np.abs(delta) - np.abs(exact - original).ravel()
    bound = (eps * 255) ** 2 * delta.size
    excess = float((delta**2).sum()) - bound
    order = np.argsort(-outwards, kind="stable")
    order = order[outwards[order] > 0]
    gains = np.cumsum(2 * np.abs(delta[order]) - 1)
    count = int(np.searchsorted(gains, excess, side="left")) + 1 if excess > 0 else 0
    moved = order[:count]
    delta[moved] -= np.sign(delta[moved])
    return original + delta.reshape(original.shape).astype(np.int16)


def inside(statistics: dict[str, list[float]], spec: AttackSpec) -> bool:
    """Tell whether 8-bit perturbations are within the spec's eps.

    Args:
        statistics: ``linf`` and ``rms`` per image in 8-bit levels, as ``statistics`` returns them.
        spec: The attack, with ``norm`` and ``eps``.

    Returns:
        True if every image is within the ball.
    """
    if spec.norm == "linf":
        return max(statistics["linf"]) <= levels(spec.eps)
    return max(statistics["rms"]) <= spec.eps * 255 + 1e-6


def statistics(adversarial: np.ndarray, clean: np.ndarray, eps: float) -> dict[str, list[float]]:
    """Return statistics of uint8 perturbations.

    Args:
        adversarial: uint8 N x 3 x H x W.
        clean: uint8 N x 3 x H x W.
        eps: The bound, in [0, 1].

    Returns:
        A list of N values each: ``linf`` and ``rms`` in 8-bit levels; ``mean_abs``, the mean
        |delta| in units of eps; ``at_bound``, the share of values at or beyond the integer bound;
        ``psnr`` in dB, infinite for no change.
    """
    delta = adversarial.astype(np.int32) - clean.astype(np.int32)
    absolute = np.abs(delta)
    bound = levels(eps)
    axes = (1, 2, 3)
    rms = np.sqrt((delta.astype(np.float64) ** 2).mean(axes))
    with np.errstate(divide="ignore"):
        psnr = 20 * np.log10(255 / rms)
    return {
        "linf": absolute.max(axes).astype(float).tolist(),
        "rms": rms.tolist(),
        "mean_abs": (absolute.mean(axes) / max(eps * 255, 1e-12)).tolist(),
        "at_bound": ((absolute >= bound) & (bound > 0)).mean(axes).tolist(),
        "psnr": psnr.tolist(),
    }
