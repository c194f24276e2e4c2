"""Files of an experiment's report: figures, tables, the resolved spec, and the page."""

from pathlib import Path

from matplotlib.figure import Figure

from segtransfer.reporting.entries import experiment_entry, write_entry
from segtransfer.reporting.heatmaps import draw_matrix, draw_overview
from segtransfer.reporting.html.page import write_page
from segtransfer.reporting.panels import draw_panel
from segtransfer.reporting.pictured import pictured_sources
from segtransfer.reporting.places import COMPLETE, PAGE, matrix_name, report_folder
from segtransfer.results import Results
from segtransfer.results.markdown import markdown
from segtransfer.tasks.data.names import file_name
from segtransfer.tasks.yaml_files import dump

REPORT_DPI = 130


def write_report(results: Results) -> Path:
    """Write an experiment's report, and replace an older report.

    Files: matrices.png (all attacks), matrix-<attack>.png (``=`` for ``:``), panel-<source>.png (of
    many sources the first ones of each backbone), results.csv (a row per cell), summary.md,
    experiment.yaml (the resolved spec), and report.html, which contains all of the report.
    ``complete`` is written last, with the digest of the results.

    Returns:
        The folder.
    """
    folder = report_folder(results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / COMPLETE).unlink(missing_ok=True)
    _save(draw_overview(results), folder / "matrices.png")
    for attack in results.attacks:
        _save(draw_matrix(results, attack), folder / matrix_name(attack))
    for source in pictured_sources(results):
        panel = draw_panel(results, source)
        if panel is not None:
            _save(panel, folder / file_name(f"panel-{source}.png"))
    results.frame().to_csv(folder / "results.csv", index=False, float_format="%.4f")
    (folder / "summary.md").write_text(markdown(results, results.attacks), encoding="utf-8")
    spec = dump(results.manifest.spec)
    (folder / "experiment.yaml").write_text(spec, encoding="utf-8")
    write_page(results, folder / PAGE)
    write_entry(experiment_entry(results, PAGE), folder)
    (folder / COMPLETE).write_text(results.digest)
    return folder


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=REPORT_DPI)
