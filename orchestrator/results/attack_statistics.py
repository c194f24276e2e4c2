"""Statistics of an attack over its stored reports: perturbation and cost."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from segtransfer.tasks.appearance import BAND_WIDTH, BANDS

Reports = Sequence[tuple[str | None, dict[str, Any]]]  # of attack tasks, with their sources
COUNTED = ("forwards", "backwards", "pixels", "seconds")  # of the whole run of an attack


def perturbation_of(reports: Reports, index: int) -> pd.Series:
    """Return statistics of the perturbation of a variant, as ``Results.perturbation``.

    Args:
        reports: The reports of the variant's attack tasks.
        index: The variant's index among the variants of its attack.

    Returns:
        The maximum of ``linf`` and the means of the other statistics; ``ssim`` over the sampled
        images, NaN in results of earlier versions. Empty without reports.
    """
    found = [report["perturbation"][index] for _, report in reports]
    if not found:
        return pd.Series(dtype=float)
    pooled = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    values = {k: v.max() if k == "linf" else v.mean() for k, v in pooled.items()}
    looks = looks_of(reports, index)
    return pd.Series({**values, "ssim": np.mean(looks["ssim"]) if looks["ssim"] else np.nan})


def looks_of(reports: Reports, index: int) -> dict[str, list[Any]]:
    """Return the sampled looks of a variant's perturbations.

    Args:
        reports: The reports of the variant's attack tasks; those of earlier versions have no looks.
        index: The variant's index among the variants of its attack.

    Returns:
        ``ssim``, a number per sampled image, and ``spectrum``, ``BANDS`` numbers per sampled image.
    """
    looks = [report["appearance"][index] for _, report in reports if "appearance" in report]
    return {k: [value for look in looks for value in look[k]] for k in ("ssim", "spectrum")}


def add_looks(frame: pd.DataFrame, attacks: Mapping[str, tuple[Reports, int]]) -> None:
    """Add the columns ``ssim`` and ``high_frequency`` to a frame of cells, in place.

    Args:
        frame: A row per ``attack``, ``source`` and target; an empty frame is left as it is.
        attacks: By variant, the reports of its attack tasks, and its index among the variants.
    """
    if frame.empty:
        return
    looks = {attack: _looks_by_source(*made) for attack, made in attacks.items()}
    cells = [
        looks[attack].get(source, looks[attack].get(None, {}))
        for attack, source in zip(frame["attack"], frame["source"], strict=True)
    ]
    for name in ("ssim", "high_frequency"):
        frame[name] = [values.get(name, np.nan) for values in cells]


def _looks_by_source(reports: Reports, index: int) -> dict[str | None, dict[str, float]]:
    """Return the looks of a variant's perturbations, for ``Results.frame``.

    Args:
        reports: The reports of the variant's attack tasks.
        index: The variant's index among the variants of its attack.

    Returns:
        By source, None for an attack without a model: ``ssim``, and ``high_frequency``, the share
        of the mean square at 0.25 cycles per pixel and more, in percent. NaN if not measured.
    """
    found = {}
    for source in {source for source, _ in reports}:
        looks = looks_of([(s, report) for s, report in reports if s == source], index)
        power = np.sum(looks["spectrum"], 0) if looks["spectrum"] else np.zeros(BANDS)
        high = (
            100 * power[round(0.25 / BAND_WIDTH) :].sum() / power.sum() if power.any() else np.nan
        )
        similarity = np.mean(looks["ssim"]) if looks["ssim"] else np.nan
        found[source] = {"ssim": float(similarity), "high_frequency": float(high)}
    return found


def spectra_of(attacks: Mapping[str, tuple[Reports, int]]) -> pd.DataFrame:
    """Return the mean radial spectra of variants, as ``Results.spectra``.

    Args:
        attacks: By variant, the reports of its attack tasks, and its index among the variants.

    Returns:
        Columns ``attack``, ``low`` and ``high`` (cycles per pixel; the last band ends at the
        corners of the spectrum), ``power`` (squared 8-bit levels), ``share`` (percent) and
        ``density`` (1 for white noise). No rows for variants without a measured spectrum.
    """
    rows = []
    for attack, (reports, index) in attacks.items():
        spectra = looks_of(reports, index)["spectrum"]
        power = np.mean(spectra, 0) if spectra else np.zeros(0)
        total = power.sum() or 1.0
        for band, value in enumerate(power):
            low, high = band * BAND_WIDTH, (band + 1) * BAND_WIDTH
            area = math.pi * (high**2 - low**2)  # of the frequencies, a square of side 1
            if band == BANDS - 1:
                high, area = 0.5**0.5, 1 - math.pi / 4
            rows.append((attack, low, high, value, 100 * value / total, value / total / area))
    return pd.DataFrame(rows, columns=["attack", "low", "high", "power", "share", "density"])


def cost_of(reports: Reports, index: int) -> pd.Series:
    """Return the cost of a variant over all sources and images, as ``Results.cost``.

    Args:
        reports: The reports of the variant's attack tasks; those without a cost are skipped.
        index: The variant's index among the variants of its attack.

    Returns:
        The sums of ``COUNTED``, and ``forward_equivalents`` as mean per image. Zeros without a
        cost.
    """
    costly = [report for _, report in reports if report["cost"]]
    total = pd.DataFrame([report["cost"] for report in costly], columns=list(COUNTED)).sum()
    equivalents = [report["cost"]["forward_equivalents"][index] for report in costly]
    images = [len(report["perturbation"][index]["rms"]) for report in costly]
    mean = np.average(equivalents, weights=images) if costly else 0.0
    return pd.concat([total, pd.Series({"forward_equivalents": mean})])
