"""Arguments and options that several verbs share."""

import json
from typing import Annotated

import typer

WORK_PANEL = "Workers and store"
TRACKING_PANEL = "Report and MLflow"

SpecArgument = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="YAML file of an experiment, or the name of a shipped recipe, for example quickstart.",
    ),
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="OVERRIDES",
        help="Changes of the spec, applied in order: field.path=value, for example "
        "attacks.0.eps=8/255. Default: no change.",
    ),
]
LocationArgument = Annotated[
    str,
    typer.Argument(
        metavar="STORE",
        help="Folder or URL of a store, for example segtransfer-store or s3://bucket/lab.",
    ),
]
ExecutorOption = Annotated[
    str | None,
    typer.Option(
        metavar="ray|inline",
        help="Host of the models: ray (worker processes on this machine or a cluster) or inline "
        "(this process). Default: runtime.executor of the spec, which is ray unless set.",
        rich_help_panel=WORK_PANEL,
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        metavar="STORE",
        help="Folder or URL of the store that results are read from and written to. Default: "
        "runtime.store of the spec, which is segtransfer-store unless set.",
        rich_help_panel=WORK_PANEL,
    ),
]
FleetOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Name of a running fleet ('segtransfer fleet up' starts fleets) to run on; results go "
        "to the fleet's store. Default: runtime.fleet.name of the spec; if unset, workers are "
        "started for this command alone.",
        rich_help_panel=WORK_PANEL,
    ),
]
TrackingOption = Annotated[
    bool,
    typer.Option(
        help="Log the results to MLflow, unless runtime.tracking of the spec is false.",
        rich_help_panel=TRACKING_PANEL,
    ),
]
RequireTrackingOption = Annotated[
    bool,
    typer.Option(
        "--require-tracking",
        help="Exit with code 1 if the report or MLflow cannot be written. Default: print a warning "
        "and exit with code 0.",
        rich_help_panel=TRACKING_PANEL,
    ),
]
AddressOption = Annotated[
    str,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS", metavar="URL", help="URL of the Ray cluster's dashboard."
    ),
]


def with_options(
    overrides: list[str] | None,
    *,
    executor: str | None = None,
    store: str | None = None,
    fleet: str | None = None,
    max_hours: float | None = None,
) -> list[str]:
    """Return overrides, followed by an override for each given option.

    Args:
        overrides: ``field.path=value`` strings of the command line; None if there are none.
        executor: Value of ``runtime.executor``; None, as for the other options, if not given.
        store: Value of ``runtime.store``.
        fleet: Value of ``runtime.fleet.name``.
        max_hours: Value of ``runtime.max_hours``, in hours.

    Returns:
        A new list. Options come last and therefore win over overrides of the same field.
    """
    options = {
        "runtime.executor": executor,
        "runtime.store": store,
        "runtime.fleet.name": fleet,
        "runtime.max_hours": max_hours,
    }
    extra = [
        f"{field}={json.dumps(value)}" for field, value in options.items() if value is not None
    ]
    return [*(overrides or []), *extra]
