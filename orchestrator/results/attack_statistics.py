"""Statistics of an attack over its stored reports: perturbation and cost."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

Reports = Sequence[tuple[str | None, dict[str, Any]]]  # of attack tasks, with their sources
COUNTED = ("forwards", "backwards", "pixels", "seconds")  # of the whole run of an attack


def perturbation_of(reports: Reports, index: int) -> pd.Series:
    """Return statistics of the perturbation of a variant, as ``Results.perturbation``.

    Args:
        reports: The reports of the variant's attack tasks.
        index: The variant's index among the variants of its attack.

    Returns:
        The maximum of ``linf`` and the means of the other statistics; empty without reports.
    """
    found = [report["perturbation"][index] for _, report in reports]
    if not found:
        return pd.Series(dtype=float)
    pooled = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    return pd.Series({k: v.max() if k == "linf" else v.mean() for k, v in pooled.items()})


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
