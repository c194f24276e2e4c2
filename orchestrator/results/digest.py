"""The digest of results, by which a report tells whether it is up to date."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from segtransfer.experiment.task import MatrixIndex
from segtransfer.results.attack_statistics import Reports


def digest_of(
    identity: str,
    counts: Mapping[MatrixIndex, np.ndarray],
    reports: Mapping[str, Reports],
    warnings: Iterable[Any],
) -> str:
    """Return the sha256 of an identity, counts, reports and warnings.

    Args:
        identity: The experiment's identity.
        counts: The counts per cell.
        reports: The source and the report of each attack task, by variant.
        warnings: Objects whose ``repr`` tells their content.

    Returns:
        Hexadecimal digits.
    """
    digest = hashlib.sha256(identity.encode())
    for cell in sorted(counts, key=str):
        digest.update(repr(cell).encode())
        digest.update(counts[cell].tobytes())
    for attack, parts in reports.items():
        for source, report in parts:
            digest.update(repr((attack, source)).encode())
            digest.update(json.dumps(report, sort_keys=True).encode())
    for warning in warnings:
        digest.update(repr(warning).encode())
    return digest.hexdigest()
