"""Charts of the page: Vega-Lite specs built by Altair, which the page draws and themes.

A chart holds its values for all metrics. The parameter ``metric`` selects the shown values.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import numpy as np

from segtransfer.reporting.html.analysis import Analysis
from segtransfer.reporting.html.estimates import IntervalsByMetric, spread
from segtransfer.reporting.html.tables import AttackEstimates
from segtransfer.results import Results
from segtransfer.results.text import HEADLINES, unit

# Legible on light and on dark.
GREY, BLUE, ORANGE, PURPLE = "#878d99", "#3f86c6", "#df7532", "#a066c9"
COLOURS = BLUE, ORANGE, GREY
NAMES = alt.Axis(labelLimit=180, ticks=False, domain=False, labelPadding=8)
POINTS = "points"
STANDALONE_WIDTH = 420  # pixels, of a chart outside the page
ChartData = list[dict[str, Any]]  # a mapping of fields per mark and metric


@dataclass(frozen=True)
class LegendEntry:
    """An entry of a chart's legend: label, colour and shape of its marks."""

    label: str
    colour: str
    shape: str = "circle"


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: The title.
        legend: The entries of the legend.
        spec: The spec of Vega-Lite.
        in_points: Whether values are differences, in points of the metric.
        measure: The measure and its unit of a chart that is equal for all metrics; else empty.
    """

    title: str
    legend: tuple[LegendEntry, ...]
    spec: dict[str, Any]
    in_points: bool = False
    measure: str = ""

    @property
    def points(self) -> ChartData:
        """Return the chart's data, for all metrics."""
        return self.spec["datasets"][POINTS]

    def unit(self, metric: str) -> str:
        """Return the unit of the chart's values of a metric.

        Args:
            metric: A metric of the page.
        """
        return "points" if self.in_points else unit(metric)

    def standalone(self, metric: str, label: str) -> alt.TopLevelMixin:
        """Return the chart of a metric as an object of Altair, with title and legends.

        Args:
            metric: A metric of the page.
            label: The metric's label.

        Returns:
            A chart of Altair with the points of this metric only.
        """
        points = [point for point in self.points if point.get("metric", metric) == metric]
        measure = self.measure or f"{label}, {self.unit(metric)}"
        spec = _with_legends(self.spec) | {
            "title": f"{self.title}: {measure}",
            "width": STANDALONE_WIDTH,
            "datasets": self.spec["datasets"] | {POINTS: points},
        }
        for parameter in spec["params"]:
            if parameter["name"] == "metric":
                parameter["value"] = metric
        return alt.Chart.from_dict(spec)


def _with_legends(part: Any) -> Any:
    """Return a copy of a spec whose legends, which the page draws itself, are on again."""
    if isinstance(part, dict):
        return {k: _with_legends(v) for k, v in part.items() if not (k == "legend" and v is None)}
    return [_with_legends(item) for item in part] if isinstance(part, list) else part


PAIR_MARKS = {
    "diagonal": (GREY, "circle"),
    "same_network": (PURPLE, "diamond"),
    "same_backbone": (BLUE, "square"),
    "cross_backbone": (ORANGE, "triangle-up"),
}
VERDICTS = LegendEntry("beyond noise", ORANGE), LegendEntry("within noise", GREY)


def overview_charts(results: Results, analysis: Analysis) -> list[Chart]:
    """Return charts of the attacks' last steps: means, differences, perturbation size, norms.

    Args:
        results: The experiment.
        analysis: The analysis.

    Returns:
        Charts with at least one point: means; differences if there is a baseline; perturbation size
        if there are two attacks or more; norms of attacks that seek the smallest.
    """
    summaries, intervals = [s for s in analysis.summaries if s.view.final], analysis.intervals
    named = analysis.main_attacks
    charts = [means_chart(summaries, intervals)]
    if analysis.baseline is not None:
        charts.append(differences_chart(summaries, intervals, analysis.baseline))
    if len(summaries) > 1:
        charts.append(energy_chart(summaries, intervals, analysis.group, named))
    charts.append(
        norms_chart(results, [s.view.attack for s in summaries if not math.isnan(s.view.norm)])
    )
    return [chart for chart in charts if chart.points]


def norms_chart(results: Results, attacks: Sequence[str]) -> Chart:
    """Return a chart of the share of images whose norm at 99 % fooled pixels is at most eps.

    Args:
        results: The experiment.
        attacks: Attacks that seek the smallest norm; a line each, over all sources and images.
    """
    data: ChartData = []
    for attack in attacks:
        norms = results.norms(attack).to_numpy().ravel()
        norms = norms[~np.isnan(norms)]  # an image that is not reached has an infinite norm
        for level in [0.0, *np.unique(norms[np.isfinite(norms)])]:
            share = 100 * float((norms <= level).mean())
            data.append({"attack": attack, "norm": float(level), "share": share})
    legend = [
        LegendEntry(attack, COLOURS[number % len(COLOURS)]) for number, attack in enumerate(attacks)
    ]
    shares = alt.Y("share:Q", title=None, scale=alt.Scale(domain=[0, 100]))
    base = alt.Chart(alt.NamedData(POINTS)).encode(
        x=alt.X("norm:Q", title="eps, levels"), y=shares, color=_color("attack", legend)
    )
    steps = base.mark_line(interpolate="step-after", strokeWidth=2)
    told = [alt.Tooltip("attack:N"), alt.Tooltip("norm:Q"), alt.Tooltip("share:Q", format=".1f")]
    dots = base.mark_circle(size=36, opacity=1).encode(tooltip=told)
    title = "Images with 99 % fooled pixels at a norm of at most eps"
    chart = _chart(title, legend, data, alt.layer(steps, dots), height=220)
    return replace(chart, measure="share of images, percent")


def means_chart(summaries: Sequence[AttackEstimates], intervals: IntervalsByMetric) -> Chart:
    """Return a chart of the headline means with their intervals, a line per attack.

    Args:
        summaries: The attacks, in order.
        intervals: Values of all estimates, per metric.
    """
    data = [
        point | {"attack": row.view.attack, "pairs": HEADLINES[group]}
        for row in summaries
        for group, number in row.means.items()
        for point in _points(intervals, number)
    ]
    pairs = _pairs(summaries)
    labels = [entry.label for entry in pairs]
    base = _base().encode(
        y=alt.Y("attack:N", sort=[row.view.attack for row in summaries], title=None, axis=NAMES),
        yOffset=alt.YOffset("pairs:N", sort=labels),
        color=_color("pairs", pairs),
    )
    shapes = alt.Scale(domain=labels, range=[entry.shape for entry in pairs])
    shape = alt.Shape("pairs:N", scale=shapes, legend=None)
    chart = alt.layer(_whiskers(base), _dots(base, ["attack:N", "pairs:N"]).encode(shape=shape))
    return _chart("Means by kind of pair", pairs, data, chart, height=34 * len(summaries))


def differences_chart(
    summaries: Sequence[AttackEstimates], intervals: IntervalsByMetric, baseline: str
) -> Chart:
    """Return a chart of paired differences to the baseline attack.

    Args:
        summaries: The attacks; attacks without a difference, such as the baseline, are left out.
        intervals: Values of all estimates, per metric.
        baseline: The subtracted attack.
    """
    summaries = [row for row in summaries if row.difference is not None]
    data = [
        point | {"attack": row.view.attack, "verdict": "beyond noise" if beyond else "within noise"}
        for row in summaries
        for point, beyond in _verdicts(intervals, row.difference)
    ]
    order = [row.view.attack for row in summaries]
    base = _base().encode(
        y=alt.Y("attack:N", sort=order, title=None, axis=NAMES),
        color=_color("verdict", VERDICTS),
    )
    zero = alt.Chart(alt.InlineData(values=[{"x": 0}])).mark_rule(strokeDash=[3, 3], color=GREY)
    layers = [zero.encode(x="x:Q"), _whiskers(base), _dots(base, ["attack:N", "verdict:N"])]
    chart = _chart(
        f"Difference to {baseline}", VERDICTS, data, alt.layer(*layers), height=24 * len(order)
    )
    return replace(chart, in_points=True)


def energy_chart(
    summaries: Sequence[AttackEstimates],
    intervals: IntervalsByMetric,
    group: str,
    named: Collection[str],
) -> Chart:
    """Return a chart of a headline mean against perturbation size.

    Args:
        summaries: The attacks.
        intervals: Values of all estimates, per metric.
        group: The headline group.
        named: Attacks to label by name.
    """
    data = [
        point | {"attack": row.view.attack, "rms": row.view.rms, "name": name}
        for row in summaries
        if not math.isnan(row.view.rms)  # no AE is stored
        for name in [row.view.attack if row.view.attack in named else ""]
        for point in _points(intervals, row.means[group])
    ]
    room = alt.Scale(zero=False, padding=48)  # for the names
    size = alt.X("rms:Q", title="RMS of the perturbation, levels", scale=room)
    low, value = (alt.Y(f"{name}:Q", title=None, scale=_snug()) for name in ("low", "value"))
    base = _base().encode(x=size)
    whisker = base.mark_rule(strokeWidth=1.5, color=BLUE).encode(y=low, y2="high:Q")
    dot = base.mark_circle(size=60, opacity=1, color=BLUE)
    name = base.mark_text(align="left", dx=8, dy=-5).encode(y=value, text="name:N")
    layers = [whisker, dot.encode(y=value, tooltip=_tooltip(["attack:N", "rms:Q"])), name]
    legend = [LegendEntry(f"{HEADLINES[group]} mean", BLUE)]
    return _chart(
        "Transfer against perturbation size", legend, data, alt.layer(*layers), height=280
    )


def curve_charts(results: Results, analysis: Analysis) -> list[Chart]:
    """Return charts of headline means over steps, per attack with iterates and per score.

    Args:
        results: The experiment.
        analysis: The analysis.

    Returns:
        A chart per attack and score with two kept steps or more. All share their vertical limits.
    """
    intervals = analysis.intervals
    runs: dict[tuple[str, str], list[tuple[int, AttackEstimates]]] = defaultdict(list)
    for row in analysis.summaries:
        made = results.variants[row.view.attack]
        runs[made.attack, made.score].append((made.step, row))
    curves = {name: run for name, run in runs.items() if len(run) > 1}
    drawn = [row.means for run in curves.values() for _, row in run]
    numbers = [number for means in drawn for number in means.values() if number is not None]
    limits = {
        metric: spread([known[number] for number in numbers]) or (0.0, 1.0)
        for metric, known in intervals.items()
    }
    charts = [_curve(name, score, run, intervals, limits) for (name, score), run in curves.items()]
    return [chart for chart in charts if chart.points]


def _curve(
    name: str,
    score: str,
    run: Sequence[tuple[int, AttackEstimates]],
    intervals: IntervalsByMetric,
    limits: Mapping[str, tuple[float, float]],
) -> Chart:
    data = [
        point | {"step": step, "pairs": HEADLINES[group]}
        for step, row in run
        for group, number in row.means.items()
        for point in _points(intervals, number)
    ]
    # Equal limits make curves of different charts comparable.
    shared = alt.Scale(
        domainMin=alt.ExprRef("limits[metric][0]"), domainMax=alt.ExprRef("limits[metric][1]")
    )
    pairs = _pairs([row for _, row in run])
    kept = alt.Axis(values=[step for step, _ in run], format="d", grid=False, labelOverlap=True)
    base = _base().encode(
        x=alt.X("step:Q", title="step", axis=kept, scale=alt.Scale(type="log", nice=False)),
        color=_color("pairs", pairs),
    )
    low, value = (alt.Y(f"{name}:Q", title=None, scale=shared) for name in ("low", "value"))
    band = base.mark_area(opacity=0.18).encode(y=low, y2="high:Q")
    line = base.mark_line(strokeWidth=2).encode(y=value)
    dot = base.mark_circle(size=36, opacity=1)
    layers = [band, line, dot.encode(y=value, tooltip=_tooltip(["pairs:N", "step:Q"]))]
    chart = alt.layer(*layers).add_params(alt.param(name="limits", value=dict(limits)))
    title = name if score == "raw" else f"{name}, scored as {score}"
    legend = [replace(entry, shape="circle") for entry in pairs]
    return _chart(title, legend, data, chart, height=220)


def _pairs(summaries: Sequence[AttackEstimates]) -> tuple[LegendEntry, ...]:
    """Return the legend of the pair groups shown."""
    groups = summaries[0].means if summaries else ()
    return tuple(LegendEntry(HEADLINES[group], *PAIR_MARKS[group]) for group in groups)


def _points(intervals: IntervalsByMetric, number: int | None) -> Iterator[dict[str, Any]]:
    """Yield an estimate as chart data, per metric; nothing for missing values."""
    return (point for point, _ in _verdicts(intervals, number))


def _verdicts(
    intervals: IntervalsByMetric, number: int | None
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield chart data of an estimate per metric, and whether the value is beyond noise."""
    for metric, known in intervals.items():
        interval = None if number is None else known[number]
        if interval is not None:
            value, low, high, beyond = interval
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


def _color(field: str, legend: Sequence[LegendEntry]) -> alt.Color:
    domain, colours = [entry.label for entry in legend], [entry.colour for entry in legend]
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=domain, range=colours), legend=None)


def _snug() -> alt.Scale:
    return alt.Scale(zero=False, nice=True)


def _tooltip(fields: Sequence[str]) -> list[alt.Tooltip]:
    numbers = [alt.Tooltip(f"{name}:Q", format=".1f") for name in ("value", "low", "high")]
    return [*(alt.Tooltip(name) for name in fields), *numbers]


def _chart(
    title: str,
    legend: Sequence[LegendEntry],
    data: ChartData,
    chart: alt.LayerChart | alt.FacetChart,
    height: int,
) -> Chart:
    switched = chart.add_params(alt.param(name="metric", value="miou"))
    sized = switched.properties(width="container", height=height, description=title)
    # The data comes last: Altair copies and checks all that a chart holds again and again.
    spec = sized.to_dict()
    spec["datasets"] = spec.get("datasets", {}) | {POINTS: data}
    return Chart(title, tuple(legend), spec)
