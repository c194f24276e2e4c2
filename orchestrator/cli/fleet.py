"""``segtransfer fleet``: up, status, down."""

from typing import Annotated

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_with_message
from segtransfer.cli.options import StoreOption

fleet_app = typer.Typer(
    no_args_is_help=True,
    help="Keep a driver and its workers up, for several runs and searches to share.",
)
FleetArgument = Annotated[str, typer.Argument(help="The fleet's name.")]


@fleet_app.command("up")
def fleet_up(
    name: FleetArgument,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="field=value of runtime: fleet.slots=8, window=2")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Start a fleet on the Ray cluster that is up, and leave it there."""
    from segtransfer.experiment.reading import read_runtime
    from segtransfer.runtime.executors.ray.fleets import start_fleet

    with exit_with_message(name):
        extra = [] if store is None else [f"store={store}"]
        runtime = read_runtime([*(overrides or []), *extra])
        start_fleet(name, runtime)
        console.print(f"Fleet '{name}' is up. Store: {runtime.store}", highlight=False)
        console.print(f"Use it: segtransfer run SPEC --fleet {name}")


@fleet_app.command("status")
def fleet_status(name: FleetArgument) -> None:
    """Print what a fleet hosts and does."""
    from segtransfer.reporting.fleet import print_fleet
    from segtransfer.runtime.executors.ray.fleets import status_of

    with exit_with_message(name):
        print_fleet(status_of(name), console)


@fleet_app.command("down")
def fleet_down(name: FleetArgument) -> None:
    """End a fleet; calls under way are lost, what was done is in the store."""
    from segtransfer.runtime.executors.ray.fleets import end_fleet

    with exit_with_message(name):
        end_fleet(name)
        console.print(f"Fleet '{name}' is down.")
