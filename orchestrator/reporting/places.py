"""Places of reports, and whether a report is up to date; no library for figures is imported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from segtransfer.reporting.entries import entry_name
from segtransfer.tasks.data.names import file_name

if TYPE_CHECKING:
    from segtransfer.results import Results

PAGE = "report.html"
COMPLETE = "complete"  # written last, with the digest of the results


def report_folder(results: Results) -> Path:
    """Return an experiment's report folder, in a local store or else in the working folder.

    Returns:
        ``<name>-<12 digits of the identity>`` below ``reports_root``; it need not exist.
    """
    return reports_root(results.store.location) / file_name(
        f"{results.name}-{results.identity[:12]}"
    )


def reports_root(location: str) -> Path:
    """Return the folder of all reports on a store's results.

    Reports on a remote store, or on a store without permission to write, are written to the
    working folder. Ray deletes a job's working folder after the job; the command ``report`` writes
    the reports again.

    Args:
        location: The folder or URL of the store.

    Returns:
        ``reports`` in the store, or ``segtransfer-reports`` in the working folder; the folder need
        not exist.
    """
    here, there = Path.cwd() / "segtransfer-reports", Path(location) / "reports"
    if "://" in location:
        return here
    existing = next(path for path in (there, *there.parents) if path.exists())
    return there if os.access(existing, os.W_OK | os.X_OK) else here


def matrix_name(attack: str) -> str:
    """Return the file name of an attack's matrix."""
    return file_name(f"matrix-{attack.replace(':', '=')}.png")  # attack names contain no =


def is_current(results: Results) -> bool:
    """Return whether the report folder shows these results.

    Returns:
        True if the page and the entry of the index exist and ``complete`` holds the digest of the
        results.
    """
    mark = report_folder(results) / COMPLETE
    files = mark, mark.with_name(PAGE), mark.with_name(entry_name("experiment"))
    drawn = all(file.is_file() for file in files)
    return drawn and mark.read_text() == results.digest
