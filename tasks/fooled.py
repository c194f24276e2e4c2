"""The norm of a perturbation at 99 % fooled pixels, of attacks that minimise the norm."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

PERCENT = 99  # of the labelled pixels: the success of Rony et al., CVPR 2023

Counts = TypeVar("Counts", np.ndarray, "torch.Tensor")


def reached(fooled: Counts, labelled: Counts) -> Counts:
    """Tell whether 99 % of the labelled pixels are fooled.

    Args:
        fooled: The number of fooled labelled pixels per image, integers.
        labelled: The number of labelled pixels per image, integers.

    Returns:
        Booleans; False for an image without labelled pixels.
    """
    return (100 * fooled >= PERCENT * labelled) & (labelled > 0)


def norms(linf: np.ndarray, fooled: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Return the L-infinity norm at 99 % fooled pixels of each image.

    Args:
        linf: The norms of the stored perturbations in 8-bit levels, N.
        fooled: The number of fooled labelled pixels of the stored images, integers, N.
        labelled: The number of labelled pixels, integers, N.

    Returns:
        float N: the norm; infinite for an image with fewer fooled pixels, NaN for an image without
        labelled pixels.
    """
    return np.where(labelled > 0, np.where(reached(fooled, labelled), linf, np.inf), np.nan)
