"""Surfaces of results in Python: HTML for notebooks, LaTeX, Markdown, figures and charts."""

import os
from functools import singledispatch
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes

from segtransfer.comparison import Comparison
from segtransfer.errors import InputError
from segtransfer.experiment.plan import Plan
from segtransfer.reporting import comparison as comparisons
from segtransfer.reporting import paper
from segtransfer.reporting.heatmaps import plot_matrix
from segtransfer.reporting.html import charts as page_charts
from segtransfer.reporting.html.analysis import analyse
from segtransfer.reporting.html.estimates import metric_choices
from segtransfer.reporting.paper_tables import (
    checked,
    comparison_tables,
    leaderboard,
    matrix_table,
    study_table,
)
from segtransfer.reporting.places import PAGE, report_folder
from segtransfer.results import Results
from segtransfer.results.views import main_attacks, transfer_matrix
from segtransfer.studies import StudyResult
from segtransfer.tasks.schema import suggest

MOST_MATRICES = 6  # of a notebook's cell; the others are named
STYLE = Markup(
    "<style>.segtransfer table{border-collapse:collapse;margin:.4em 0}"
    ".segtransfer th,.segtransfer td{padding:.25em .6em;text-align:right;white-space:nowrap}"
    ".segtransfer tbody th{text-align:left;font-weight:normal}"
    ".segtransfer td[style^=text-align]{white-space:normal;max-width:40em}"
    ".segtransfer tbody+tbody{border-top:2px solid #8888}"
    ".segtransfer p{font-size:90%;margin:.2em 0;max-width:60em}"
    ".segtransfer p:has(+table){margin-top:1em}</style>"
)


@singledispatch
def tables_of(shown: Any, *_: Any) -> list[paper.PaperTable]:
    """Return the tables of a result as a paper prints them.

    Args:
        shown: Results, a comparison, or a study.

    Raises:
        TypeError: Another type.
    """
    raise TypeError(f"a {type(shown).__name__} has no tables")


@tables_of.register
def _(
    results: Results, attack: str | None = None, metric: str | None = None
) -> list[paper.PaperTable]:
    metric = checked(results, attack, metric)
    if attack is None:
        return [leaderboard(results, metric)]
    return [matrix_table(results, attack, metric, intervals=True)]


@tables_of.register
def _(comparison: Comparison) -> list[paper.PaperTable]:
    return comparison_tables(comparison)


@tables_of.register
def _(result: StudyResult) -> list[paper.PaperTable]:
    return [study_table(result)]


def plot(results: Results, attack: str, metric: str | None, ax: Axes | None) -> Axes:
    """Draw an attack's matrix of a metric.

    Args:
        results: The results.
        attack: The name of an attack's variant.
        metric: A metric of ``Results.matrix``; None for the headline metric.
        ax: The axes to draw into; None for a new figure.

    Raises:
        InputError: The attack or the metric is unknown.
    """
    metric = checked(results, attack, metric)
    return plot_matrix(results, attack, metric, ax)


def charts(results: Results, metric: str | None) -> dict[str, Any]:
    """Return the charts of the page by title, as objects of Altair.

    Raises:
        InputError: The page does not offer the metric.
    """
    metric, choices = metric or results.headline, metric_choices(results.headline)
    if metric not in choices:
        raise InputError(f"no chart shows metric '{metric}'; {suggest(metric, choices)}")
    analysis = analyse(results)
    drawn = [
        *page_charts.overview_charts(results, analysis),
        *page_charts.curve_charts(results, analysis),
    ]
    return {chart.title: chart.standalone(metric, choices[metric].label) for chart in drawn}


@singledispatch
def html_of(shown: Any) -> str:
    """Return the HTML of a result for a notebook.

    Args:
        shown: Results, a comparison, a study, or a plan.

    Raises:
        TypeError: Another type.
    """
    raise TypeError(f"a {type(shown).__name__} has no HTML")


@html_of.register
def _(results: Results) -> str:
    """Return heat tables of the main attacks, their means, warnings and links."""
    attacks = main_attacks(results)
    parts = []
    for attack in attacks[:MOST_MATRICES]:
        parts.append(paper.html(matrix_table(results, attack, results.headline, intervals=False)))
        means = transfer_matrix(results, attack).headlines
        parts.append(paragraph("Means: " + "; ".join(mean.text for mean in means) + "."))
    if left := [attack for attack in results.attacks if attack not in attacks[:MOST_MATRICES]]:
        parts.append(paragraph(f"Also: {', '.join(left)}."))
    parts += [paragraph(f"Warning: {warning.sentence}") for warning in results.warnings]
    return box(repr(results), [*parts, links(report_folder(results) / PAGE, results)])


@html_of.register
def _(comparison: Comparison) -> str:
    """Return the tables with verdicts, and the notes."""
    parts = [paper.html(table) for table in comparison_tables(comparison)]
    parts += [paragraph(note) for note in comparison.notes]
    return box(repr(comparison), [*parts, links(comparisons.comparison_folder(comparison))])


@html_of.register
def _(result: StudyResult) -> str:
    """Return the paragraph and the claims."""
    parts = [paragraph(result.paragraph), paper.html(study_table(result))]
    return box(repr(result), [*parts, links(report_folder(result.results))])


@html_of.register
def _(plan: Plan) -> str:
    """Return the number of tasks per model and role, and of those without a result."""
    missing = {task.key for task in plan.missing}
    names = {key: model.name for key, model in plan.models.items()} | {None: "no model"}
    rows = []
    for key, name in names.items():
        counts = []
        for attacks in (True, False):
            mine = [t for t in plan.tasks.values() if t.model == key]
            mine = [t for t in mine if (t.attack is not None) == attacks]
            left = sum(task.key in missing for task in mine)
            counts.append(paper.PaperCell(f"{left:,} of {len(mine):,}" if mine else "–"))
        rows.append(paper.PaperRow(name, tuple(counts)))
    table = paper.PaperTable(
        "plan", "Tasks to compute, of all.", ("model", "attacks", "evaluations"), (tuple(rows),)
    )
    return box(repr(plan), [paper.html(table)])


def box(title: str, parts: list[Markup]) -> str:
    """Return the HTML of a notebook's cell.

    Args:
        title: The ``repr``, whose first line is the title.
        parts: HTML below the title.
    """
    head = Markup("<b>{}</b>").format(title.splitlines()[0].strip("<>"))
    body = Markup("").join([STYLE, head, *parts])
    return str(Markup('<div class="segtransfer">{}</div>').format(body))


def paragraph(text: str) -> Markup:
    """Return text as a paragraph of HTML."""
    return Markup("<p>{}</p>").format(text)


def links(report: Path, results: Results | None = None) -> Markup:
    """Return a link to an existing report, relative to the working folder if below it.

    Args:
        report: The report, which need not exist.
        results: The results whose store is named; None for no store.

    Returns:
        A paragraph; empty if there is neither a report nor a store.
    """
    parts = []
    if report.exists():
        path = os.path.relpath(report)
        href = report.absolute().as_uri() if path.startswith("..") else Path(path).as_posix()
        parts.append(Markup('Report: <a href="{}">{}</a>').format(href, path))
    if results is not None:
        parts.append(Markup("Store: <code>{}</code>").format(results.store.location))
    return Markup("<p>{}</p>").format(Markup(" · ").join(parts)) if parts else Markup("")
