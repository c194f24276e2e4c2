"""The verbs ``segtransfer fleet up``, ``status`` and ``down``."""

from typing import Annotated

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_with_message
from segtransfer.cli.help import help_text, verb

fleet_app = typer.Typer(
    name="fleet",
    no_args_is_help=True,
    help=help_text(
        """Start, show and end a fleet: workers on a Ray cluster for several runs and searches.

        Docs: how-to/team, how-to/four-nodes
        """
    ),
)
FleetArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Name of the fleet: letters, digits, '_', '.' and '-'."),
]


@verb(fleet_app, "up")
def fleet_up(
    name: FleetArgument,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FIELDS",
            help="Fields of runtime in a spec, as field=value, for example fleet.slots=8. Default: "
            "the defaults of runtime.",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="STORE",
            help="Folder or URL of the store that the fleet writes to. Default: segtransfer-store "
            "in the working folder.",
        ),
    ] = None,
) -> None:
    """Start a fleet on the running Ray cluster.

    The fleet runs until 'segtransfer fleet down'. Runs and searches with --fleet NAME share its
    workers and its store.

    Example:
        segtransfer fleet up lab --store /shared/store fleet.gpus=true

    Docs: how-to/team, how-to/four-nodes

    Raises:
        typer.Exit: With code 2 if no cluster runs, or the fleet is up already.
    """
    from segtransfer.experiment.reading import read_runtime
    from segtransfer.runtime.executors.ray.fleets import start_fleet

    with exit_with_message(""):
        extra = [] if store is None else [f"store={store}"]
        runtime = read_runtime([*(overrides or []), *extra])
        start_fleet(name, runtime)
        console.print(f"Fleet '{name}' is up. Store: {runtime.store}", highlight=False)
        console.print(f"To run on the fleet: segtransfer run SPEC --fleet {name}")


@verb(fleet_app, "status")
def fleet_status(name: FleetArgument) -> None:
    """Print the models, workers, tasks and queues of a fleet.

    Example:
        segtransfer fleet status lab

    Docs: how-to/team, how-to/four-nodes

    Raises:
        typer.Exit: With code 2 if the fleet is not up.
    """
    from segtransfer.reporting.fleet import print_fleet
    from segtransfer.runtime.executors.ray.fleets import status_of

    with exit_with_message(""):
        print_fleet(status_of(name), console)


@verb(fleet_app, "down")
def fleet_down(name: FleetArgument) -> None:
    """End a fleet and its workers.

    Finished results stay in the store. Unfinished tasks are lost; the next run computes them.

    Example:
        segtransfer fleet down lab

    Docs: how-to/team, how-to/four-nodes

    Raises:
        typer.Exit: With code 2 if the fleet is not up.
    """
    from segtransfer.runtime.executors.ray.fleets import end_fleet

    with exit_with_message(""):
        end_fleet(name)
        console.print(f"Fleet '{name}' is down.")
