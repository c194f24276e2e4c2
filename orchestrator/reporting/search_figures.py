"""Figures of a search: importance of fields, slices, contour, Pareto front."""

import warnings
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import optuna
from matplotlib.figure import Figure

from segtransfer.reporting.search_progress import short, show
from segtransfer.reporting.shading import STRONG_IS_DARK
from segtransfer.searches import SearchResult
from segtransfer.searches.optuna_study import front, importances, ranked
from segtransfer.searches.spec import DIRECTIONS

MOST_SLICES = 12  # drawn fields


def _transfer_axis(result: SearchResult) -> str:
    return f"transfer: mean drop\nin {result.context.quality}, points"


def _title(result: SearchResult, about: str) -> str:
    """Return the title of a figure: the search, the subject and the number of trials."""
    name, whole = result.context.search.name, len(ranked(result.trials))
    return f"{name}: {about}\n{whole} complete {'trial' if whole == 1 else 'trials'}"


def _titled(result: SearchResult, about: str, size: tuple[float, float]) -> Figure:
    """Return an empty figure of a size in inches below its title."""
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(_title(result, about), fontsize=10, x=0.01, ha="left", parse_math=False)
    return figure


def _transfer(trial: optuna.trial.FrozenTrial) -> float:
    return float(trial.values[0])


def _draw(plot: Callable[..., Any], study: optuna.Study, **options: Any) -> Figure:
    """Draw a figure by Optuna's ``plot``."""
    mpl.use("Agg")
    # Optuna sets a style for the whole process, and calls all its plots experimental.
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drawn = plot(study, **options)
    figure = np.ravel(np.asarray(drawn, dtype=object))[0].figure
    return figure


def _importances(result: SearchResult) -> Figure | None:
    """Draw the importance of every field; None if too few trials are whole."""
    explained = importances(result.study)
    if not explained:
        return None
    figure = _titled(result, "importance of each field", (7, 1.6 + 0.35 * len(explained)))
    axes = figure.subplots()
    names = [short(name) for name in reversed(explained)]
    axes.barh(names, list(reversed(explained.values())), color="tab:blue")
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_xlabel("share of the variance of transfer explained by the field (PED-ANOVA)")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return figure


def _slices(result: SearchResult) -> Figure | None:
    """Draw transfer over each varied field, a point per whole trial, coloured by its number."""
    trials = sorted(ranked(result.trials), key=lambda trial: trial.number)
    fields = [
        field
        for field in result.context.space.fields
        if len({trial.point[field] for trial in trials if field in trial.point}) > 1
    ]
    fields = fields[:MOST_SLICES]
    if not fields:
        return None
    across = min(4, len(fields))
    down = -(-len(fields) // across)
    size = (max(5.0, 3.2 * across), 2.8 * down + 0.6)
    figure = _titled(result, "transfer at the values of each field, a point per trial", size)
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for axes, field in zip(grid.flat, fields, strict=False):
        mine = [trial for trial in trials if field in trial.point]
        values = [trial.point[field] for trial in mine]
        if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            values = [show(value) for value in values]
        transfer = [trial.score.objectives["transfer"] for trial in mine if trial.score]
        drawn = axes.scatter(values, transfer, c=[t.number for t in mine], cmap="Oranges",
                             edgecolors="black", linewidths=0.4, s=24)  # fmt: skip
        axes.set_xlabel(short(field))
        axes.grid(alpha=0.3)
    for axes in grid.flat[len(fields) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel(_transfer_axis(result))
    figure.colorbar(drawn, ax=grid, label="number of the trial", shrink=0.8)
    return figure


def _contour(result: SearchResult) -> Figure | None:
    """Draw transfer over the two most important numeric fields; None with fewer than two."""
    whole = ranked(result.trials)
    numeric = [
        name
        for name in importances(result.study)
        if ((searched := result.context.space.fields[name]).float or searched.int)
        and len({trial.point.get(name) for trial in whole}) > 2
    ]
    if len(numeric) < 2:
        return None
    plot = optuna.visualization.matplotlib.plot_contour
    figure = _draw(
        plot, result.study, params=numeric[:2], target=_transfer, target_name="transfer, points"
    )
    axes = figure.axes[0]
    for drawn in axes.collections:
        if getattr(drawn, "filled", False):
            drawn.set_cmap(STRONG_IS_DARK.reversed())  # a high transfer is a strong attack
    title = _title(result, "transfer over the two most important fields; dark: strong attack")
    axes.set_title("")
    axes.set_title(title, fontsize=10, loc="left")
    return figure


def _front(result: SearchResult) -> Figure | None:
    """Draw transfer over each other objective with the Pareto front; None for a single one."""
    objectives = result.context.search.search.objectives
    if len(objectives) < 2:
        return None
    trials, best = ranked(result.trials), front(result.trials, objectives)
    size = (5.5 * (len(objectives) - 1), 4.4)
    figure = _titled(result, "transfer against the other objectives", size)
    grid = figure.subplots(1, len(objectives) - 1, squeeze=False)
    for axes, name in zip(grid.flat, objectives[1:], strict=True):
        for some, colour, label in ((trials, "lightgrey", "trials"), (best, "tab:red", "front")):
            scores = [trial.score.objectives for trial in some if trial.score]
            axes.scatter([s[name] for s in scores], [s["transfer"] for s in scores], c=colour,
                         edgecolors="black", linewidths=0.4, label=label)  # fmt: skip
        better = "less" if DIRECTIONS[name] == "minimize" else "more"
        axes.set_xlabel(f"{name} ({better} is better)")
        axes.set_ylabel(_transfer_axis(result))
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


FIGURE_FILES: dict[str, Callable[[SearchResult], Figure | None]] = {
    "importances.png": _importances,
    "slices.png": _slices,
    "contour.png": _contour,
    "front.png": _front,
}
