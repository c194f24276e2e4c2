"""The page's charts: Vega-Lite specs by Altair, which the page draws, themes and switches.

Every chart holds its numbers for all metrics, and a parameter ``metric`` chooses.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import altair as alt

from segtransfer.reporting.html.numbers import Figures, spread
from segtransfer.reporting.html.tables import PLAIN, Compared
from segtransfer.results import PAIR_GROUPS, Results
from segtransfer.results.text import HEADLINES

GREY, BLUE, ORANGE = "#878d99", "#3f86c6", "#df7532"  # legible on light and on dark
NAMES = alt.Axis(labelLimit=180, ticks=False, domain=False, labelPadding=8)
POINTS = "points"
AllFigures = Mapping[str, Sequence[Figures | None]]
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Sign:
    """How a kind of thing is drawn, for the key above a chart."""

    label: str
    colour: str
    shape: str = "circle"


@dataclass(frozen=True)
class Drawn:
    """A chart: what it shows in words, its key, and its Vega-Lite spec."""

    title: str
    key: tuple[Sign, ...]
    spec: dict[str, Any]

    @property
    def points(self) -> Rows:
        """What is drawn, for all metrics."""
        return self.spec["datasets"][POINTS]


PAIRS = tuple(
    Sign(HEADLINES[group], colour, shape)
    for group, colour, shape in zip(
        PAIR_GROUPS, (GREY, BLUE, ORANGE), ("circle", "square", "triangle-up"), strict=True
    )
)
VERDICTS = Sign("beyond noise", ORANGE), Sign("within noise", GREY)
LABELS = [sign.label for sign in PAIRS]


@cache
def vega_bundle() -> str:
    """The JavaScript of Vega, Vega-Lite and Vega-Embed as one script, which defines vegaEmbed."""
    import vl_convert

    version = "_".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)


def overview_charts(
    compared: Sequence[Compared],
    figures: AllFigures,
    group: str,
    baseline: str | None,
    named: Collection[str],
) -> list[Drawn]:
    """The attacks at their last step: means, differences, size of the perturbation."""
    compared = [row for row in compared if row.final]
    charts = [means_chart(compared, figures), energy_chart(compared, figures, group, named)]
    if baseline is not None:
        charts.insert(1, differences_chart(compared, figures, baseline))
    return [chart for chart in charts if chart.points]


def means_chart(compared: Sequence[Compared], figures: AllFigures) -> Drawn:
    """Means of the headline groups with their intervals, a line an attack."""
    data = [
        point | {"attack": row.attack, "pairs": label}
        for row in compared
        for label, number in zip(LABELS, row.means, strict=True)
        for point in _points(figures, number)
    ]
    base = _base().encode(
        y=alt.Y("attack:N", sort=[row.attack for row in compared], title=None, axis=NAMES),
        yOffset=alt.YOffset("pairs:N", sort=LABELS),
        color=_color("pairs", PAIRS),
    )
    shapes = alt.Scale(domain=LABELS, range=[sign.shape for sign in PAIRS])
    shape = alt.Shape("pairs:N", scale=shapes, legend=None)
    chart = alt.layer(_whiskers(base), _dots(base, ["attack:N", "pairs:N"]).encode(shape=shape))
    return _drawn("Means by kind of pair", PAIRS, data, chart, height=34 * len(compared))


def differences_chart(compared: Sequence[Compared], figures: AllFigures, baseline: str) -> Drawn:
    """Paired differences to the baseline attack.

    Without attacks that use no model: they are so far off that nothing else would be seen.
    """
    compared = [row for row in compared if row.sourced and row.difference is not None]
    data = [
        point | {"attack": row.attack, "verdict": "beyond noise" if beyond else "within noise"}
        for row in compared
        for point, beyond in _verdicts(figures, row.difference)
    ]
    order = [row.attack for row in compared]
    base = _base().encode(
        y=alt.Y("attack:N", sort=order, title=None, axis=NAMES),
        color=_color("verdict", VERDICTS),
    )
    zero = alt.Chart(alt.InlineData(values=[{"x": 0}])).mark_rule(strokeDash=[3, 3], color=GREY)
    layers = [zero.encode(x="x:Q"), _whiskers(base), _dots(base, ["attack:N", "verdict:N"])]
    return _drawn(
        f"Difference to {baseline}", VERDICTS, data, alt.layer(*layers), height=24 * len(order)
    )


def energy_chart(
    compared: Sequence[Compared], figures: AllFigures, group: str, named: Collection[str]
) -> Drawn:
    """The mean over one headline group against the size of the perturbation; some by name."""
    rms = [name for name, *_ in PLAIN].index("rms")
    data = [
        point | {"attack": row.attack, "rms": row.plain[rms], "name": name}
        for row in compared
        if not math.isnan(row.plain[rms])  # as where no AE is stored
        for name in [row.attack if row.attack in named else ""]
        for point in _points(figures, row.means[PAIR_GROUPS.index(group)])
    ]
    room = alt.Scale(zero=False, padding=48)  # for the names
    size = alt.X("rms:Q", title="RMS of the perturbation, levels", scale=room)
    low, value = (alt.Y(f"{name}:Q", title=None, scale=_snug()) for name in ("low", "value"))
    base = _base().encode(x=size)
    whisker = base.mark_rule(strokeWidth=1.5, color=BLUE).encode(y=low, y2="high:Q")
    dot = base.mark_circle(size=60, opacity=1, color=BLUE)
    name = base.mark_text(align="left", dx=8, dy=-5).encode(y=value, text="name:N")
    layers = [whisker, dot.encode(y=value, tooltip=_tooltip(["attack:N", "rms:Q"])), name]
    key = [Sign(f"{HEADLINES[group]} mean", BLUE)]
    return _drawn("Transfer against perturbation size", key, data, alt.layer(*layers), height=280)


def curve_charts(
    results: Results, compared: Sequence[Compared], figures: AllFigures
) -> list[Drawn]:
    """Means over the steps of every attack that kept iterates, a chart an attack and score."""
    runs: dict[tuple[str, str], list[tuple[int, Compared]]] = defaultdict(list)
    for row in compared:
        made = results.variants[row.attack]
        runs[made["attack"], made["score"]].append((made["step"], row))
    curves = {name: run for name, run in runs.items() if len(run) > 1}
    numbers = [n for run in curves.values() for _, row in run for n in row.means if n is not None]
    limits = {
        metric: spread([known[number] for number in numbers]) or (0.0, 1.0)
        for metric, known in figures.items()
    }
    drawn = [_curve(name, score, run, figures, limits) for (name, score), run in curves.items()]
    return [chart for chart in drawn if chart.points]


def _curve(
    name: str,
    score: str,
    run: Sequence[tuple[int, Compared]],
    figures: AllFigures,
    limits: Mapping[str, tuple[float, float]],
) -> Drawn:
    data = [
        point | {"step": step, "pairs": label}
        for step, row in run
        for label, number in zip(LABELS, row.means, strict=True)
        for point in _points(figures, number)
    ]
    # The same limits in all curves, so that they can be compared by eye.
    shared = alt.Scale(
        domainMin=alt.ExprRef("limits[metric][0]"), domainMax=alt.ExprRef("limits[metric][1]")
    )
    kept = alt.Axis(values=[step for step, _ in run], format="d", grid=False, labelOverlap=True)
    base = _base().encode(
        x=alt.X("step:Q", title="step", axis=kept, scale=alt.Scale(type="log", nice=False)),
        color=_color("pairs", PAIRS),
    )
    low, value = (alt.Y(f"{name}:Q", title=None, scale=shared) for name in ("low", "value"))
    band = base.mark_area(opacity=0.18).encode(y=low, y2="high:Q")
    line = base.mark_line(strokeWidth=2).encode(y=value)
    dot = base.mark_circle(size=36, opacity=1)
    layers = [band, line, dot.encode(y=value, tooltip=_tooltip(["pairs:N", "step:Q"]))]
    chart = alt.layer(*layers).add_params(alt.param(name="limits", value=dict(limits)))
    title = name if score == "raw" else f"{name}, scored as {score}"
    key = [replace(sign, shape="circle") for sign in PAIRS]
    return _drawn(title, key, data, chart, height=220)


def _points(figures: AllFigures, number: int | None) -> Iterator[dict[str, Any]]:
    """A number as rows of a chart's data, one a metric; none where it is missing."""
    return (point for point, _ in _verdicts(figures, number))


def _verdicts(figures: AllFigures, number: int | None) -> Iterator[tuple[dict[str, Any], bool]]:
    for metric, known in figures.items():
        found = None if number is None else known[number]
        if found is not None:
            value, low, high, beyond = found
            yield {"metric": metric, "value": value, "low": low, "high": high}, beyond


def _base() -> alt.Chart:
    chosen = alt.Chart(alt.NamedData(POINTS))
    return chosen.transform_filter("datum.metric == metric")


def _whiskers(base: alt.Chart) -> alt.Chart:
    return base.mark_rule(strokeWidth=1.5).encode(x=alt.X("low:Q", title=None), x2="high:Q")


def _dots(base: alt.Chart, fields: Sequence[str]) -> alt.Chart:
    value = alt.X("value:Q", title=None, scale=_snug())
    dots = base.mark_point(filled=True, size=48, opacity=1)
    return dots.encode(x=value, tooltip=_tooltip(fields))


def _color(field: str, key: Sequence[Sign]) -> alt.Color:
    domain, colours = [sign.label for sign in key], [sign.colour for sign in key]
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=domain, range=colours), legend=None)


def _snug() -> alt.Scale:
    return alt.Scale(zero=False, nice=True)


def _tooltip(fields: Sequence[str]) -> list[alt.Tooltip]:
    numbers = [alt.Tooltip(f"{name}:Q", format=".1f") for name in ("value", "low", "high")]
    return [*(alt.Tooltip(name) for name in fields), *numbers]


def _drawn(
    title: str,
    key: Sequence[Sign],
    data: Rows,
    chart: alt.LayerChart | alt.FacetChart,
    height: int,
) -> Drawn:
    switched = chart.add_params(alt.param(name="metric", value="miou"))
    sized = switched.properties(width="container", height=height, description=title)
    # The data comes last: Altair copies and checks all that a chart holds again and again.
    spec = sized.to_dict()
    spec["datasets"] = spec.get("datasets", {}) | {POINTS: data}
    return Drawn(title, tuple(key), spec)
