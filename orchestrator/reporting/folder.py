"""Report folder of an experiment: figures, tables, the resolved spec, and the page."""

import os
from pathlib import Path

from matplotlib.figure import Figure

from segtransfer.reporting.entries import entry_name, experiment_entry, write_entry
from segtransfer.reporting.heatmaps import draw_matrix, draw_overview
from segtransfer.reporting.html import write_page
from segtransfer.reporting.panels import draw_panel
from segtransfer.results import Results
from segtransfer.results.markdown import markdown
from segtransfer.tasks.data.names import file_name
from segtransfer.tasks.yaml_files import dump

REPORT_DPI = 130
PAGE = "report.html"


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


def write_report(results: Results) -> Path:
    """Write an experiment's report, and replace an older report.

    Files: matrices.png (all attacks), matrix-<attack>.png (``=`` for ``:``), panel-<source>.png,
    results.csv (a row per cell), summary.md, experiment.yaml (the resolved spec), and report.html,
    which contains all of the report. ``complete`` is written last, with the digest of the results.

    Returns:
        The folder.
    """
    folder = report_folder(results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "complete").unlink(missing_ok=True)
    _save(draw_overview(results), folder / "matrices.png")
    for attack in results.attacks:
        _save(draw_matrix(results, attack), folder / matrix_name(attack))
    for source in results.sources:
        panel = draw_panel(results, source)
        if panel is not None:
            _save(panel, folder / file_name(f"panel-{source}.png"))
    results.frame().to_csv(folder / "results.csv", index=False, float_format="%.4f")
    (folder / "summary.md").write_text(markdown(results, results.attacks), encoding="utf-8")
    spec = dump(results.manifest.spec)
    (folder / "experiment.yaml").write_text(spec, encoding="utf-8")
    write_page(results, folder / PAGE)
    write_entry(experiment_entry(results, PAGE), folder)
    (folder / "complete").write_text(results.digest)
    return folder


def matrix_name(attack: str) -> str:
    """Return the file name of an attack's matrix."""
    return file_name(f"matrix-{attack.replace(':', '=')}.png")  # attack names contain no =


def is_current(results: Results) -> bool:
    """Return whether the report folder shows these results.

    Returns:
        True if the page and the entry of the index exist and ``complete`` holds the digest of the
        results.
    """
    mark = report_folder(results) / "complete"
    files = mark, mark.with_name(PAGE), mark.with_name(entry_name("experiment"))
    drawn = all(file.is_file() for file in files)
    return drawn and mark.read_text() == results.digest


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=REPORT_DPI)
