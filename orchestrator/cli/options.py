"""Arguments and options that several verbs share."""

import json
from typing import Annotated

import typer

SpecArgument = Annotated[
    str, typer.Argument(help="A YAML file, or the name of a recipe, for example quickstart.")
]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(help="field.path=value, for example attacks.0.eps=8/255")
]
LocationArgument = Annotated[str, typer.Argument(help="Folder or URL of a store.")]
ExecutorOption = Annotated[
    str | None, typer.Option(help="How models are hosted: inline (this process), or ray (workers).")
]
StoreOption = Annotated[str | None, typer.Option(help="Folder or URL of the store.")]
ExperimentOption = Annotated[
    str | None, typer.Option(help="An experiment: name, or prefix of its identity.")
]
FleetOption = Annotated[str | None, typer.Option(help="A fleet that 'fleet up' keeps.")]
TrackingOption = Annotated[bool, typer.Option(help="Log to MLflow.")]
RequireTrackingOption = Annotated[
    bool,
    typer.Option(
        "--require-tracking", help="Exit with code 1 if the report or MLflow cannot be written."
    ),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Resume an interrupted search.")]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        help="'random': also run five random searches of other seeds, and compare the best "
        "transfer at no more cost. Default: no comparison."
    ),
]
AddressOption = Annotated[
    str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="URL of the cluster's dashboard.")
]


def with_options(
    overrides: list[str] | None,
    *,
    executor: str | None = None,
    store: str | None = None,
    fleet: str | None = None,
    max_hours: float | None = None,
) -> list[str]:
    """Return the overrides, followed by those that the given options stand for."""
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
