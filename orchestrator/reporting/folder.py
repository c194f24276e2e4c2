"""The report folder of an experiment: pictures, tables and the resolved spec, redrawn at will."""

from pathlib import Path

import yaml
from matplotlib.figure import Figure

from segtransfer.reporting.heatmaps import draw_matrix, draw_overview
from segtransfer.reporting.html import write_page
from segtransfer.reporting.panels import draw_panel
from segtransfer.results import Results
from segtransfer.results.text import markdown
from segtransfer.tasks.data.names import file_name

DPI = 130
PAGE = "report.html"


def report_folder(results: Results) -> Path:
    """Where an experiment's report lies: in a local store, else in the working folder."""
    return reports_root(results.store.location) / file_name(
        f"{results.name}-{results.identity[:12]}"
    )


def reports_root(location: str) -> Path:
    """The folder of all reports on a store's results.

    What a job draws of a bucket goes with the job's working folder; ``report`` draws it again.
    """
    return Path.cwd() / "segtransfer-reports" if "://" in location else Path(location) / "reports"


def write_report(results: Results) -> Path:
    """Draw everything anew; returns the folder.

    matrices.png (all attacks), matrix-<attack>.png (a ``:`` written ``=``), panel-<source>.png,
    results.csv (a row a cell), summary.md, experiment.yaml (the resolved spec), and report.html,
    which shows all of it alone. ``complete`` is written last: it holds the digest of the results
    that were drawn.
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
    (folder / "summary.md").write_text(markdown(results, results.attacks))
    spec = yaml.safe_dump(results.content["spec"], sort_keys=False, allow_unicode=True)
    (folder / "experiment.yaml").write_text(spec)
    write_page(results, folder / PAGE)
    (folder / "complete").write_text(results.digest)
    return folder


def matrix_name(attack: str) -> str:
    """The file of an attack's own matrix."""
    return file_name(f"matrix-{attack.replace(':', '=')}.png")  # no name of an attack holds a =


def is_current(results: Results) -> bool:
    """Whether the folder already shows these very results."""
    mark = report_folder(results) / "complete"
    drawn = mark.is_file() and mark.with_name(PAGE).is_file()
    return drawn and mark.read_text() == results.digest


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=DPI)
