"""Plan on the terminal: tasks, stored results, forecast of time and bytes, and power."""

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from segtransfer.experiment.plan import Plan
from segtransfer.experiment.task import CLEAN, Task
from segtransfer.forecast.cost_model import Rates
from segtransfer.forecast.forecast import FleetForecast, Forecast
from segtransfer.statistics.power import ASSUMED_ACCURACY, LEVEL, POWER, Power

BAR_CHARACTERS = " ▁▂▃▄▅▆▇█"


def print_plan(plan: Plan, console: Console, forecast: Forecast | None = None) -> None:
    """Print numbers of tasks and stored results and the remaining cost per attack.

    Args:
        plan: The plan.
        console: The terminal.
        forecast: Time on fleets of several sizes and statistical power, printed if given.
    """
    images = sum(len(shard.image_ids) for shard in plan.shards.values())
    console.print(
        f"{plan.experiment.name}: {len(plan.shards)} shards of {images} images of "
        f"{plan.dataset.name}, {len(plan.experiment.source_models)} sources, "
        f"{len(plan.experiment.target_models)} targets",
        highlight=False,
    )
    table = _table("", "tasks", "in the store", "to do", "image forwards", "images to store")
    for name, tasks in _by_attack(plan).items():
        table.add_row(name, *_table_values(plan, tasks))
    table.add_section()
    table.add_row("all", *_table_values(plan, list(plan.tasks.values())), style="bold")
    console.print(table)
    console.print(
        "Image forwards at native size; a backward counts as 1.5, a scaled image by its area.\n",
        style="dim",
    )
    if forecast is not None:
        print_forecast(plan, forecast, console)
    console.print(f"Store: {plan.experiment.runtime.store}", highlight=False)


def plan_facts(plan: Plan, forecast: Forecast) -> dict[str, Any]:
    """Return the numbers of tasks per attack, and the forecast: seconds, bytes, and power.

    Args:
        plan: The plan.
        forecast: Its forecast.

    Returns:
        A mapping for JSON. ``fleets`` is empty if nothing is missing; the smallest
        detectable difference is in points of mIoU or accuracy, None if the experiment can detect
        none.
    """
    return {
        "experiment": plan.experiment.name,
        "identity": plan.identity,
        "store": plan.experiment.runtime.store,
        "images": sum(len(shard.image_ids) for shard in plan.shards.values()),
        "shards": len(plan.shards),
        "sources": [model.name for model in plan.experiment.source_models],
        "targets": [model.name for model in plan.experiment.target_models],
        "tasks": {name: _counts(plan, tasks) for name, tasks in _by_attack(plan).items()},
        "fleets": [
            {
                "name": fleet.name,
                "devices": fleet.devices,
                "slots": fleet.slots,
                "makespan_seconds": fleet.makespan,
                "lower_bound_seconds": fleet.bound,
                "device_hours": fleet.device_hours,
            }
            for fleet in forecast.fleets
            if plan.missing
        ],
        "rates_measured": len(forecast.rates.measured) == len(plan.models),
        "images_bytes": forecast.images_bytes,
        "scores_bytes": forecast.scores_bytes,
        "moved_bytes": forecast.moved_bytes,
        "smallest_detectable_difference": forecast.power.difference,
    }


def print_forecast(plan: Plan, forecast: Forecast, console: Console) -> None:
    """Print the missing tasks' time per fleet, their bytes, and the statistical power.

    Without missing tasks only the statistical power is printed.

    Args:
        plan: The plan.
        forecast: Its forecast.
        console: The terminal.
    """
    notes = Table.grid(padding=(0, 2))
    notes.add_column(style="dim", no_wrap=True)
    if plan.missing:
        console.print(_fleets(forecast))
        for fleet in _drawn_fleets(forecast):
            notes.add_row("calls over time", f"│{_bars(fleet)}│ {_label(fleet)}")
        notes.add_row("seconds", _rates_text(plan, forecast.rates))
        if forecast.part > 1:
            notes.add_row(
                "part", f"one shard in {forecast.part} was simulated, for the start and end"
            )
        moved = f", {_size(forecast.moved_bytes)} of images to other devices of the largest fleet"
        notes.add_row(
            "bytes",
            f"{_size(forecast.images_bytes)} of adversarial images and "
            f"{_size(forecast.scores_bytes)} of scores to store"
            + (moved if len(forecast.fleets) > 1 else ""),
        )
    notes.add_row("power", _power_text(forecast.power))
    console.print(notes)


def _fleets(forecast: Forecast) -> Table:
    """Return the table of fleets.

    Column ``in calls`` is the share of the devices' time within calls, ``of bound`` the lower
    bound as a share of the makespan.
    """
    table = _table(
        "fleet", "makespan", "lower bound", "of bound", "device hours", "in calls", "loads"
    )
    for fleet in forecast.fleets:
        in_calls = forecast.work / (fleet.simulation.capacity * fleet.makespan)
        hours = fleet.device_hours
        table.add_row(
            fleet.name,
            duration(fleet.makespan),
            duration(fleet.bound),
            f"{100 * fleet.bound / fleet.makespan:.0f} %",
            f"{hours:,.2f}" if hours < 100 else f"{hours:,.0f}",
            f"{100 * in_calls:.0f} %",
            f"{forecast.part * fleet.simulation.loads:,}",
        )
    return table


def _drawn_fleets(forecast: Forecast) -> list[FleetForecast]:
    """Return the fleets with a curve: this machine, and the largest of at least 50 % use."""
    used = [f for f in forecast.fleets[1:] if f.slots > 1 and f.simulation.utilisation >= 0.5]
    return [forecast.fleets[0], *used[-1:]]


def _label(fleet: FleetForecast) -> str:
    name = fleet.name if fleet.name.startswith("this") else f"{fleet.name} devices"
    return f"{duration(fleet.simulation.makespan)}, {name}"


def _bars(fleet: FleetForecast) -> str:
    """Return the utilisation over time as bars, in eighths of all devices."""
    levels = fleet.simulation.curve
    return "".join(BAR_CHARACTERS[min(8, math.ceil(8 * level - 0.25))] for level in levels)


def _rates_text(plan: Plan, rates: Rates) -> str:
    """Return the seconds per call and their origin."""
    models = [rates.models[key] for key in plan.models]
    forward = _range([model.forward.seconds(1, 1) for model in models])
    step = _range([model.step.seconds(1, 1) for model in models])
    load = _range([model.load for model in models])
    if rates.given.forward is not None:
        origin = "as given"
    elif len(rates.measured) == len(models):
        origin = f"measured on {rates.device}"
    elif rates.measured:
        origin = f"measured for {len(rates.measured)} of {len(models)} models, the rest assumed"
    else:
        origin = "assumed, not measured: add --calibrate or --seconds-per-forward"
    startup = "given" if rates.given.startup is not None else "assumed"
    peaks = [model.peak_bytes for model in models if model.peak_bytes]
    memory = f"; {_size(max(peaks))} of memory for the largest model" if peaks else ""
    return (
        f"per image {forward} for a forward and {step} for a step of PGD; {load} to load a model "
        f"({origin}); {rates.startup:g} to start a worker ({startup}){memory}"
    )


def _power_text(power: Power) -> str:
    """Return the smallest detectable difference and the origin of its error."""
    counts = f"{power.images} images in {power.groups} schedule groups"
    if power.difference is None:
        return f"{counts} cannot detect a difference between attacks; set more schedule_groups"
    spread = power.spread
    basis = "as of DS minus PGD in a cell of the sample"
    if spread is ASSUMED_ACCURACY:
        basis = "if attacks differ on a quarter of the images"
    origin = (
        f"errors as in the store: {spread.source}"
        if spread.source
        else f"assumed spreads: {spread.image:g} per image, {spread.group:g} per group, {basis}"
    )
    return (
        f"smallest detectable paired difference: {power.difference:.2f} points of "
        f"{power.quality}, with {counts} ({100 * POWER:.0f} % power, two-sided "
        f"{100 * LEVEL:.0f} %; {origin})"
    )


def duration(seconds: float) -> str:
    """Return a duration: 12.3 s, 4 min 05 s, 3 h 20 min, or 5.2 days.

    Args:
        seconds: The duration.
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if round(seconds) < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02} s"
    if seconds < 48 * 3600:
        hours, rest = divmod(round(seconds / 60), 60)
        return f"{hours} h {rest:02} min"
    return f"{seconds / 86400:,.1f} days"


def _range(values: Sequence[float]) -> str:
    low, high = (f"{value:.2g}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _size(nbytes: float) -> str:
    for unit, size in (("TiB", 2**40), ("GiB", 2**30)):
        if nbytes >= size:
            return f"{nbytes / size:,.1f} {unit}"
    return f"{nbytes / 2**20:,.1f} MiB"


def _table(*columns: str) -> Table:
    table = Table(*columns)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _by_attack(plan: Plan) -> dict[str, list[Task]]:
    """Return the tasks that make and score each attack's AEs; the clean scores come first."""
    keys: dict[str, dict[str, None]] = {}
    for cell in plan.cells:
        group = keys.setdefault(cell.attack if cell.attack != CLEAN else "clean scores", {})
        if cell.attack_key:
            group[cell.attack_key] = None
        group[cell.key] = None
    return {name: [plan.tasks[key] for key in group] for name, group in keys.items()}


def _table_values(plan: Plan, tasks: list[Task]) -> list[str]:
    counts = _counts(plan, tasks)
    return [
        f"{counts['tasks']:,}",
        f"{counts['stored']:,}",
        f"{counts['missing']:,}",
        f"{counts['image_forwards']:,.0f}",
        f"{counts['images_bytes'] / 2**20:,.1f} MiB",
    ]


def _counts(plan: Plan, tasks: list[Task]) -> dict[str, float]:
    """Return the numbers of all, stored and missing tasks, and the cost of the missing tasks."""
    missing = [task for task in tasks if task.key not in plan.stored]
    return {
        "tasks": len(tasks),
        "stored": len(tasks) - len(missing),
        "missing": len(missing),
        "image_forwards": sum(task.cost for task in missing),
        "images_bytes": sum(task.nbytes for task in missing),
    }
