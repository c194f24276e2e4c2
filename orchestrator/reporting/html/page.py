"""Page of an experiment: its template, and the content of every section."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from segtransfer.experiment.provenance import command
from segtransfer.reporting.html import charts, facts
from segtransfer.reporting.html.analysis import Analysis, analyse
from segtransfer.reporting.html.estimates import RoundedInterval, metric_choices
from segtransfer.reporting.html.gallery import draw_gallery
from segtransfer.reporting.html.spectrum import spectrum_charts
from segtransfer.reporting.html.tables import class_values, fixed_columns
from segtransfer.reporting.html.templates import HERE, environment
from segtransfer.reporting.panels import AMPLIFICATION
from segtransfer.reporting.pictured import pictured_part, pictured_sources, pictured_targets
from segtransfer.reporting.shading import Shading, shades, shading_of
from segtransfer.results import Results
from segtransfer.results.denominators import denominators
from segtransfer.results.published import published_line
from segtransfer.results.text import HEADLINES, NO_PAIR, NOT_MEASURED, row_name, rows
from segtransfer.results.views import shown_groups
from segtransfer.tasks.image_metrics import OF_IMAGES

LONGEST_COLUMN_HEAD = 10  # characters of a model's name, if there are more than three columns


def write_page(results: Results, path: Path) -> Path:
    """Write the page of an experiment to ``path``.

    Args:
        results: The experiment.
        path: The file, which is replaced.

    Returns:
        ``path``.
    """
    path.write_text(draw_page(results), encoding="utf-8")
    return path


def draw_page(results: Results) -> str:
    """Return an experiment as HTML: matrices, attacks, curves, classes, images and origin.

    The page holds every number for every metric. Its template escapes all names, because specs and
    files of others can contain markup.

    Args:
        results: The experiment, with or without missing cells.

    Returns:
        HTML without external resources: style, scripts, data and pictures are within it.
    """
    analysis, gallery = analyse(results), draw_gallery(results)
    choices = metric_choices(results.headline)
    scales = {metric: shading_of(results, metric) for metric in choices}
    overview = charts.overview_charts(results, analysis)
    curves = charts.curve_charts(results, analysis)
    spectra = spectrum_charts(results, analysis.main_attacks)
    return (
        page_environment()
        .get_template("page.html")
        .render(
            results=results,
            analysis=analysis,
            headline=analysis.intervals[results.headline],
            metrics=choices,
            class_score="Accuracy" if results.headline == OF_IMAGES else "IoU",
            fixed_columns=fixed_columns(analysis.summaries),
            groups=[HEADLINES[name] for name in shown_groups(results)],
            transfer_group=HEADLINES[analysis.group],
            overview=overview,
            curves=curves,
            spectra=spectra,
            gallery=gallery,
            pictured_part=pictured_part(results),
            amplification=AMPLIFICATION,
            scale=scales[results.headline],
            data=_script_data(results, analysis, [*overview, *spectra, *curves], gallery, scales),
            **_introduction(results, analysis),
            **_origin(results, analysis),
            **_layout(results),
            **_assets(),
        )
    )


def _script_data(
    results: Results,
    analysis: Analysis,
    drawn: Sequence[charts.Chart],
    gallery: Sequence[dict[str, Any]],
    scales: Mapping[str, Shading],
) -> dict[str, Any]:
    """Return the JSON that ``page.js`` reads."""
    divisors = denominators(results, results.attacks)
    return {
        "metrics": {
            name: {
                "label": metric.label,
                "meaning": " ".join([metric.meaning, *(divisors if name == "ratio" else ())]),
                "lower": metric.lower_fools_more,
                "scale": [scales[name].low, scales[name].high],
            }
            for name, metric in metric_choices(results.headline).items()
        },
        "headline": results.headline,
        "classScore": "Accuracy" if results.headline == OF_IMAGES else "IoU",
        "figures": {
            metric: [_short(interval) for interval in intervals]
            for metric, intervals in analysis.intervals.items()
        },
        "shades": shades(),
        "charts": [chart.spec for chart in drawn],
        "targets": results.targets,
        "pictured": {
            "sources": pictured_sources(results),
            "targets": pictured_targets(results, pictured_sources(results)),
        },
        "rows": [
            [row_name(results, attack, source) for source in rows(results, attack)]
            for attack in analysis.main_attacks
        ],
        "classes": class_values(results),
        "gallery": gallery,
        "amplification": AMPLIFICATION,
        "notMeasured": NOT_MEASURED,
    }


def _short(interval: RoundedInterval | None) -> Sequence[object] | None:
    """Return an interval for the script; a value without bounds is alone."""
    return interval[:1] if interval is not None and interval[1] is None else interval


def _introduction(results: Results, analysis: Analysis) -> dict[str, Any]:
    """Return the content above the matrices: set-up, findings, warnings, failures, files."""
    return {
        "run": facts.what_was_run(results),
        "findings": facts.findings(results, analysis),
        "published": published_line(results),
        "warnings": [warning.sentence for warning in results.warnings],
        "failures": facts.failure_messages(results),
        "downloads": facts.downloads(results),
    }


def _origin(results: Results, analysis: Analysis) -> dict[str, Any]:
    """Return the content of the last section: models, costs, configuration, versions."""
    main = analysis.main_attacks
    return {
        "models": facts.models(results),
        "costs": [row.view for row in analysis.summaries if row.view.attack in main],
        "configuration": facts.configuration(results),
        "setting": facts.setting(results),
        "provenance": facts.provenance(results),
        "command": command(),
        "written": datetime.now(UTC).strftime("%-d %B %Y, %H:%M UTC"),
    }


def _layout(results: Results) -> dict[str, Any]:
    """Return colours, the direction of column heads, and a matrix's width in pixels."""
    columns, longest = len(results.targets), max(map(len, results.targets))
    tall = columns > 3 and longest > LONGEST_COLUMN_HEAD
    names = 20 + 7 * max(len("source model ↓"), *map(len, [*results.sources, *results.attacks]))
    return {
        "tall": tall,
        "columns": columns,
        "width": max(300, names + columns * (54 if tall else 70)),
        "shades": [shade for shade, _ in shades()],
        "palette": [Markup("#") + bytes(colour).hex() for colour in results.manifest.palette],
    }


def _assets() -> dict[str, Markup]:
    """Return the style sheet and scripts, which the page contains whole."""
    return {
        "css": Markup((HERE / "page.css").read_text(encoding="utf-8")),
        "js": _script((HERE / "page.js").read_text(encoding="utf-8")),
        "vega": _script((HERE / "vega.js").read_text(encoding="utf-8")),
    }


def _script(code: str) -> Markup:
    """Return code for a script element, without a sequence that would end the element."""
    return Markup(code.replace("</script", r"<\/script").replace("<!--", r"<\!--"))


def paint(interval: RoundedInterval | None, scale: Shading) -> Markup:
    """Return the style attribute of a cell; empty for a missing value.

    Args:
        interval: The value of the cell in percent.
        scale: The colour scale of the metric.
    """
    if interval is None:
        return Markup("")
    return Markup(' style="background-color:{};color:{}"').format(*scale.of(interval[0]))


def page_environment() -> Environment:
    """Return the environment of templates with numbers and intervals."""
    with_numbers = environment()
    filters: dict[str, Any] = {
        "decimal": facts.decimal,
        "paint": paint,
        "spoken": facts.spoken_interval,
        "fixed": facts.fixed_text,
        "nan": math.isnan,
    }
    with_numbers.filters |= filters
    with_numbers.globals |= {"no_pair": NO_PAIR, "not_measured": NOT_MEASURED}
    return with_numbers
