"""Eight-bit images: rounding an adversarial example, and statistics of what was added."""

import numpy as np
import torch

STATISTICS = ("linf", "rms", "mean_abs", "at_bound", "psnr")


def levels(eps: float) -> int:
    """The integer L-infinity bound in 8-bit levels: the largest whole number within eps * 255."""
    return int(np.floor(eps * 255 + 1e-6))


def quantise(adversarial: torch.Tensor, clean: np.ndarray, eps: float) -> np.ndarray:
    """Round float adversarial examples to uint8, at most ``levels(eps)`` away from ``clean``.

    ``adversarial`` N x 3 x H x W in [0, 1]; ``clean`` uint8 of the same shape. What this returns
    is what is stored and what every target is scored on.
    """
    bound = levels(eps)
    rounded = (adversarial * 255).round().cpu().numpy().astype(np.int16)
    original = clean.astype(np.int16)
    kept = np.clip(rounded, original - bound, original + bound).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(kept)


def statistics(adversarial: np.ndarray, clean: np.ndarray, eps: float) -> dict[str, list[float]]:
    """Per-image statistics of the uint8 perturbation.

    ``linf`` and ``rms`` in 8-bit levels, ``mean_abs`` as mean|delta| / eps, ``at_bound`` the share
    of values at the integer bound, ``psnr`` in dB (infinite for no change).
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
        "at_bound": ((absolute == bound) & (bound > 0)).mean(axes).tolist(),
        "psnr": psnr.tolist(),
    }
