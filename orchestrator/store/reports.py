"""Stored reports of attacks: the check of each field by its kind, range and number of values."""

import math
import sys
from collections.abc import Mapping
from typing import Any

from segtransfer.tasks.appearance import BANDS
from segtransfer.tasks.perturbation import STATISTICS

COSTS = ("forwards", "backwards", "pixels", "seconds")
# The largest value of statistics with a bound; no value is below 0.
_MOST = {"linf": 255, "rms": 255, "mean_abs": sys.float_info.max, "at_bound": 1}


def is_attack_report(report: Mapping[str, Any], variants: int, images: int | None) -> bool:
    """Return whether a stored report is a valid report of an attack.

    Args:
        report: The report of a commit row.
        variants: The least number of variants with statistics.
        images: The number of images of the shard, each with a value per statistic. None for an
            unknown number, equal in all variants.

    Returns:
        Whether every statistic, cost and health record has the right kind, range and length.
    """
    statistics, cost = report.get("perturbation"), report.get("cost")
    if not isinstance(statistics, list) or len(statistics) < variants:
        return False
    if not isinstance(cost, dict) or not isinstance(report.get("numerics"), dict):
        return False
    if not all(_is_table(table) for table in statistics):
        return False
    counts = {len(column) for table in statistics for column in table.values()}
    if len(counts) != 1 or images not in (None, *counts):
        return False
    looks = report.get("appearance")
    if looks is not None and not _are_looks(looks, variants):
        return False
    return _is_health(report.get("health", [])) and (not cost or _is_cost(cost, variants))


def _is_table(table: Any) -> bool:
    """Return whether a value has the statistics of a perturbation, each a list of numbers."""
    return (
        isinstance(table, dict)
        and table.keys() == set(STATISTICS)
        and all(isinstance(column, list) and column for column in table.values())
        and all(
            _is_number(value) and 0 <= value <= _MOST.get(name, math.inf)
            for name, column in table.items()
            for value in column
        )
    )


def _are_looks(looks: Any, variants: int) -> bool:
    """Return whether each variant has a similarity and a spectrum per sampled image."""
    return (
        isinstance(looks, list)
        and len(looks) >= variants
        and all(
            isinstance(look, dict)
            and isinstance(similarity := look.get("ssim"), list)
            and isinstance(spectrum := look.get("spectrum"), list)
            and len(similarity) == len(spectrum) > 0
            and all(_is_number(value) and abs(value) <= 1 + 1e-9 for value in similarity)
            and all(map(_is_spectrum, spectrum))
            for look in looks
        )
    )


def _is_spectrum(bands: Any) -> bool:
    """Return whether a value has the power of each band, in squared 8-bit levels."""
    return (
        isinstance(bands, list)
        and len(bands) == BANDS
        and all(_is_number(power) and 0 <= power <= 255**2 for power in bands)
    )


def _is_health(health: Any) -> bool:
    """Return whether each run of the attack has a list per step of shares of zero gradients."""
    return isinstance(health, list) and all(
        isinstance(run, dict)
        and isinstance(steps := run.get("zero_gradients"), list)
        and all(isinstance(step, list) and all(map(_is_number, step)) for step in steps)
        for run in health
    )


def _is_cost(cost: dict[str, Any], variants: int) -> bool:
    equivalents = cost.get("forward_equivalents")
    if not isinstance(equivalents, list) or len(equivalents) < variants:
        return False
    return all(_is_number(value) for value in [*equivalents, *(cost.get(n) for n in COSTS)])


def _is_number(value: Any) -> bool:
    """Return whether a value is a number, also infinity, the PSNR of an unchanged image."""
    if type(value) is int:
        return abs(value) < 2**63  # JSON has whole numbers that no float holds
    return type(value) is float and not math.isnan(value)
