"""Chart of the radial spectra of perturbations."""

from collections.abc import Sequence

import altair as alt

from segtransfer.reporting.html.charts import BLUE, GREY, ORANGE, POINTS, PURPLE, Chart, LegendEntry
from segtransfer.results import Results
from segtransfer.tasks.appearance import SAMPLED

LINES = (BLUE, ORANGE, GREY, PURPLE, "#3a9e6e", "#c4578f", "#a88a2b", "#4aa3b5")


def spectrum_charts(results: Results, attacks: Sequence[str]) -> list[Chart]:
    """Return the chart of the spectra of attacks, or no chart without a measured spectrum.

    Args:
        results: The experiment.
        attacks: The attacks; the chart has the first of them, a colour each.
    """
    spectra = results.spectra()
    spectra = spectra[spectra["power"] > 0]  # the axis is logarithmic
    shown = [attack for attack in attacks if (spectra["attack"] == attack).any()]
    legend = tuple(map(LegendEntry, shown, LINES))
    if not legend:
        return []
    spectra = spectra[spectra["attack"].isin([entry.label for entry in legend])]
    data = spectra.assign(frequency=(spectra["low"] + spectra["high"]) / 2)
    colours = alt.Scale(
        domain=[entry.label for entry in legend], range=[entry.colour for entry in legend]
    )
    base = alt.Chart(alt.NamedData(POINTS)).encode(
        x=alt.X("frequency:Q", title="cycles per pixel"),
        y=alt.Y("density:Q", title=None, scale=alt.Scale(type="log")),
        color=alt.Color("attack:N", scale=colours, legend=None),
    )
    facts = [
        alt.Tooltip("attack:N"),
        alt.Tooltip("low:Q", format=".3f"),
        alt.Tooltip("high:Q", format=".3f"),
        alt.Tooltip("density:Q", format=".2f"),
        alt.Tooltip("share:Q", title="share, %", format=".1f"),
    ]
    dots = base.mark_circle(size=36, opacity=1).encode(tooltip=facts)
    title = "Radial spectrum of the perturbation"
    if len(shown) > len(legend):
        title += f", first {len(legend)} attacks"
    chart = alt.layer(base.mark_line(strokeWidth=2), dots)
    chart = chart.add_params(alt.param(name="metric", value="miou"))  # set on every chart
    spec = chart.properties(width="container", height=260, description=title).to_dict()
    spec["datasets"] = {POINTS: data.round(6).to_dict("records")}
    measure = f"power over that of white noise, first {SAMPLED} images of each shard"
    return [Chart(title, legend, spec, measure=measure)]
