"""The page of an experiment: one HTML file that shows all of it and loads nothing else."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from segtransfer.reporting.heatmaps import COLOURS
from segtransfer.reporting.html import charts, facts, tables
from segtransfer.reporting.html.gallery import AMPLIFICATION, draw_gallery
from segtransfer.reporting.html.numbers import METRICS, Figures, Numbers
from segtransfer.results import PAIR_GROUPS, Results
from segtransfer.results.text import HEADLINES, row_name, rows
from segtransfer.statistics import Resampled

HERE = Path(__file__).parent
BLACK, WHITE = "#000", "#fff"
LONGEST_LEVEL_NAME = 10  # of a model, in the head of more than three columns


def write_page(results: Results, path: Path) -> Path:
    """Write the page of an experiment to ``path``."""
    path.write_text(draw_page(results), encoding="utf-8")
    return path


def draw_page(results: Results) -> str:
    """An experiment as HTML: matrices, attacks side by side, curves, classes, images, its origin.

    Every number stands in it for every metric. Names come from the specs and files of others: the
    template escapes them all.
    """
    sample = Resampled(results)
    numbers = Numbers(results, sample)
    matrices, others = tables.matrices(results, numbers)
    compared = tables.compare(results, numbers)
    figures = numbers.figures()
    baseline, group = tables.baseline_of(results), tables.far_group(results)
    shown = tables.main_attacks(results)
    overview = charts.overview_charts(compared, figures, group, baseline, shown)
    curves = charts.curve_charts(results, compared, figures)
    classes, gallery = tables.class_values(results), draw_gallery(results)
    data = {
        "metrics": {m.name: m.words for m in METRICS},
        "figures": figures,
        "shades": shades(),
        "charts": [chart.spec for chart in (*overview, *curves)],
        "targets": results.targets,
        "rows": [[row_name(results, a, source) for source in rows(results, a)] for a in shown],
        "classes": classes,
        "gallery": gallery,
    }
    template = _environment().get_template("page.html")
    return template.render(
        results=results,
        miou=figures["miou"],
        metrics=METRICS,
        matrices=matrices,
        others=others,
        **_layout(results),
        compared=compared,
        plain=tables.PLAIN,
        groups=[HEADLINES[name] for name in PAIR_GROUPS],
        far=HEADLINES[group],
        baseline=baseline,
        overview=overview,
        curves=curves,
        shown=shown,
        gallery=gallery,
        amplification=AMPLIFICATION,
        shades=[shade for shade, _ in shades()],
        palette=[Markup("#") + bytes(colour).hex() for colour in results.content["palette"]],
        run=facts.what_was_run(results),
        findings=facts.findings(results, compared, figures, group, baseline),
        partial=[row.attack for row in compared if row.partial],
        trouble=facts.trouble(results),
        notes=sample.notes,
        costs=facts.costs(results),
        models=facts.models(results),
        configuration=facts.configuration(results),
        provenance=facts.provenance(results),
        command=facts.command(),
        downloads=facts.downloads(results),
        written=datetime.now(UTC).strftime("%-d %B %Y, %H:%M UTC"),
        data=data,
        css=Markup((HERE / "page.css").read_text()),
        js=_script((HERE / "page.js").read_text()),
        vega=_script(charts.vega_bundle()),
    )


def _layout(results: Results) -> dict[str, Any]:
    """Whether names above columns stand upright, and about how wide a matrix then is in pixels."""
    columns, longest = len(results.targets), max(map(len, results.targets))
    tall = columns > 3 and longest > LONGEST_LEVEL_NAME
    names = 20 + 7 * max(len("source ↓ target →") - 4, *map(len, results.sources))
    return {"tall": tall, "width": max(300, names + columns * (54 if tall else 70))}


def shades() -> list[tuple[str, str]]:
    """Colours of a cell for 256 values from 0 to 100 %: viridis as in the pictures, and black or
    white on it, whichever is easier to read."""
    return [_shade(COLOURS(i)) for i in range(256)]


def _shade(colour: Sequence[float]) -> tuple[str, str]:
    linear = [((c + 0.055) / 1.055) ** 2.4 if c > 0.04045 else c / 12.92 for c in colour[:3]]
    luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    # Where both have the same contrast (WCAG 2.2).
    ink = BLACK if luminance > 0.179 else WHITE
    return "#" + bytes(round(255 * c) for c in colour[:3]).hex(), ink


def _script(code: str) -> Markup:
    """Code as it may stand in a script element: nothing in it ends that element."""
    return Markup(code.replace("</script", r"<\/script").replace("<!--", r"<\!--"))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    painted = shades()

    def paint(figures: Figures | None) -> Markup:
        if figures is None:
            return Markup("")
        shade, ink = painted[min(255, max(0, int(figures[0] * 2.56)))]
        return Markup(' style="background:{};color:{}"').format(shade, ink)

    filters: dict[str, Any] = {
        "decimal": facts.decimal,
        "paint": paint,
        "aloud": facts.aloud,
        "plain": facts.plain,
        "nan": math.isnan,
    }
    environment.filters |= filters
    return environment
