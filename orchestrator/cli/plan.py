"""``segtransfer plan``."""

from typing import Annotated

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


def plan(
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    executor: ExecutorOption = None,
    store: StoreOption = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure every model first, on a few images.")
    ] = False,
    slots: Annotated[
        str | None,
        typer.Option(
            help="Fleets to simulate beside this machine, in devices, for example 1,8,64; by "
            "default the number in runtime.fleet.slots."
        ),
    ] = None,
    seconds_per_forward: Annotated[
        float | None,
        typer.Option(min=0, help="Assumed seconds per image forward, for every model."),
    ] = None,
    startup_seconds: Annotated[
        float | None, typer.Option(min=0, help="Assumed seconds to start a worker.")
    ] = None,
    switch_seconds: Annotated[
        float | None, typer.Option(min=0, help="Assumed seconds to load a model.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print what is stored, what the rest takes here and on other fleets, and what it can show."""
    from segtransfer.experiment.reading import read_experiment
    from segtransfer.forecast import calibration
    from segtransfer.forecast.cost_model import GivenRates
    from segtransfer.forecast.forecast import fleet_sizes, forecast
    from segtransfer.reporting.plan import plan_facts, print_plan

    with exit_with_message(spec):
        options = with_options(overrides, executor=executor, store=store)
        experiment = read_experiment(spec, options)
        counts = fleet_sizes(experiment, slots)
        opened = api.open_store(experiment.runtime.store)
        planned = api.plan(experiment)
        if calibrate:
            with console.status("") as line:
                calibration.calibrate(planned, opened, lambda m: line.update(f"measuring {m}"))
        given = GivenRates(seconds_per_forward, startup_seconds, switch_seconds)
        rates = calibration.read_rates(planned, opened, given)
        predicted = forecast(planned, opened, rates, counts)
        if as_json:
            print_json(plan_facts(planned, predicted))
        else:
            print_plan(planned, console, predicted)
