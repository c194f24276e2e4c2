"""Looks of a perturbation: structural similarity and radial spectrum, on a sample of images."""

from typing import Any

import numpy as np

SAMPLED = 2  # images per shard, the first; SSIM takes longer than all other statistics together
BANDS = 17  # of the spectrum: 16 of equal width up to 0.5 cycles per pixel, and all beyond
BAND_WIDTH = 1 / 32  # of a band, in cycles per pixel
WINDOW, SIGMA = 11, 1.5  # of SSIM, in pixels


def appearance(adversarial: np.ndarray, clean: np.ndarray) -> dict[str, Any]:
    """Return the looks of the perturbations of the first ``SAMPLED`` images.

    Args:
        adversarial: uint8 N x 3 x H x W.
        clean: uint8 N x 3 x H x W.

    Returns:
        JSON values, an entry per sampled image: ``ssim``, and ``spectrum``, a list of ``BANDS``
        numbers as ``spectrum`` returns them.
    """
    sampled = slice(0, SAMPLED)
    return {
        "ssim": ssim(adversarial[sampled], clean[sampled]).tolist(),
        "spectrum": spectrum(adversarial[sampled], clean[sampled]).tolist(),
    }


def spectrum(adversarial: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Return the radial power spectrum of each perturbation.

    A band sums |F|^2 / (H W)^2 over all frequencies whose distance from 0 is within the band, F the
    discrete Fourier transform of the perturbation; the mean over colours is returned. By Parseval's
    theorem the bands sum to the mean square of the perturbation.

    Args:
        adversarial: uint8 N x 3 x H x W.
        clean: uint8 N x 3 x H x W.

    Returns:
        float N x ``BANDS``, in squared 8-bit levels. Band i has i / 32 to (i + 1) / 32 cycles per
        pixel, the last has 0.5 and more.
    """
    height, width = clean.shape[-2:]
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    # A frequency such as 3/96 is on the border of a band, whatever its rounding error.
    band = np.minimum(np.floor(radius / BAND_WIDTH + 1e-9).astype(int), BANDS - 1).ravel()
    found = []
    for image, original in zip(adversarial, clean, strict=True):
        transform = np.fft.fft2(image.astype(float) - original.astype(float), norm="forward")
        power = (transform.real**2 + transform.imag**2).mean(0)
        found.append(np.bincount(band, power.ravel(), BANDS))
    return np.array(found).reshape(len(clean), BANDS)


def ssim(adversarial: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Return the structural similarity (SSIM, Wang et al., 2004) of each image.

    SSIM is the mean over channels and over windows within the image (a Gaussian of 11 x 11 pixels,
    sigma 1.5, or the largest odd square within the image) of (2 mu_x mu_y + C1)(2 s_xy + C2) /
    ((mu_x^2 + mu_y^2 + C1)(s_x^2 + s_y^2 + C2)), C1 = (0.01 * 255)^2, C2 = (0.03 * 255)^2.

    Args:
        adversarial: uint8 N x 3 x H x W.
        clean: uint8 N x 3 x H x W.

    Returns:
        N values up to 1; 1 for equal images.
    """
    from scipy.ndimage import correlate1d  # here, because reports of stored looks need no scipy

    side = min(WINDOW, *((edge - 1) // 2 * 2 + 1 for edge in clean.shape[-2:]))
    weights = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * SIGMA**2))
    weights /= weights.sum()
    inside = (..., *(slice(side // 2, edge - side // 2) for edge in clean.shape[-2:]))

    def local(values: np.ndarray) -> np.ndarray:
        averaged: np.ndarray = correlate1d(correlate1d(values, weights, -1), weights, -2)[inside]
        return averaged

    x, y = adversarial.astype(float), clean.astype(float)
    mu_x, mu_y = local(x), local(y)
    s_x, s_y = local(x * x) - mu_x**2, local(y * y) - mu_y**2
    s_xy = local(x * y) - mu_x * mu_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mu_x * mu_y + c1) * (2 * s_xy + c2)
    similarity /= (mu_x**2 + mu_y**2 + c1) * (s_x + s_y + c2)
    means: np.ndarray = similarity.mean((1, 2, 3))
    return means
