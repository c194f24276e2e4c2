"""The verb ``segtransfer plan``."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from segtransfer import api
from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_with_message
from segtransfer.cli.json_output import JsonOption, print_json
from segtransfer.cli.options import (
    ExecutorOption,
    OverridesArgument,
    SpecArgument,
    StoreOption,
    with_options,
)

if TYPE_CHECKING:
    from segtransfer.experiment.plan import Plan
    from segtransfer.forecast.forecast import Forecast

FORECAST_PANEL = "Forecast"

CalibrateOption = Annotated[
    bool,
    typer.Option(
        "--calibrate",
        help="First measure every model on one micro-batch in this process, and store the "
        "seconds. Default: use stored seconds, else assumed seconds.",
        rich_help_panel=FORECAST_PANEL,
    ),
]
SlotsOption = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Numbers of devices to forecast for besides this machine, comma-separated, for "
        "example 1,8,64. Default: runtime.fleet.slots of the spec.",
        rich_help_panel=FORECAST_PANEL,
    ),
]
ForwardSecondsOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Assumed seconds per image forward, for every model. Default: measured seconds, "
        "else a value per device.",
        rich_help_panel=FORECAST_PANEL,
    ),
]
StartupSecondsOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Assumed seconds to start a worker. Default: 12.",
        rich_help_panel=FORECAST_PANEL,
    ),
]
SwitchSecondsOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Assumed seconds to load a model. Default: measured seconds, else a value per device.",
        rich_help_panel=FORECAST_PANEL,
    ),
]


def plan(
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    executor: ExecutorOption = None,
    store: StoreOption = None,
    calibrate: CalibrateOption = False,
    slots: SlotsOption = None,
    seconds_per_forward: ForwardSecondsOption = None,
    startup_seconds: StartupSecondsOption = None,
    switch_seconds: SwitchSecondsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forecast a run: stored and missing tasks, hours, bytes and detectable differences.

    No task is computed. The hours come from a simulation of the scheduler for this machine and
    for each number in --slots.

    Example:
        segtransfer plan quickstart
        segtransfer plan mine.yaml --calibrate --slots 1,8,64

    Docs: how-to/one-node, how-to/reproduce-the-paper

    Raises:
        typer.Exit: With code 2 if the spec, the data, a model or an option is wrong.
    """
    from segtransfer.reporting.progress import ProgressView
    from segtransfer.runtime.listener import Listener

    with exit_with_message(spec):
        options = with_options(overrides, executor=executor, store=store)
        given = seconds_per_forward, startup_seconds, switch_seconds
        progress = ProgressView(console)  # planning hundreds of models takes tens of seconds
        tell = Listener().stage if as_json else progress.stage
        try:
            planned, predicted = _forecast(spec, options, slots, given, calibrate, tell)
        finally:
            progress.stop()
        from segtransfer.reporting.plan import plan_facts, print_plan

        if as_json:
            print_json(plan_facts(planned, predicted))
        else:
            print_plan(planned, console, predicted)


def _forecast(
    spec: str,
    options: list[str],
    slots: str | None,
    given: tuple[float | None, float | None, float | None],
    calibrate: bool,
    tell: Callable[[str, str], None],
) -> "tuple[Plan, Forecast]":
    """Plan an experiment and simulate its run.

    Args:
        spec: The name or path of the spec.
        options: Fields to set before validation.
        slots: Numbers of devices to forecast for, comma-separated; None for the spec's.
        given: Seconds per forward, to start a worker and to load a model; None if not given.
        calibrate: Whether to measure every model first.
        tell: Called with each stage and its item.
    """
    tell("Reading the spec", spec)
    from segtransfer.experiment.plan import make_plan
    from segtransfer.experiment.reading import read_experiment
    from segtransfer.forecast import calibration
    from segtransfer.forecast.cost_model import GivenRates
    from segtransfer.forecast.forecast import fleet_sizes, forecast

    experiment = read_experiment(spec, options)
    counts = fleet_sizes(experiment, slots)
    store = api.open_store(experiment.runtime.store)
    planned = make_plan(experiment, store, tell=tell)
    if calibrate:
        calibration.calibrate(planned, store, partial(tell, "Measuring models"))
    rates = calibration.read_rates(planned, store, GivenRates(*given))
    return planned, forecast(planned, store, rates, counts, partial(tell, "Simulating the run"))
