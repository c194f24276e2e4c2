"""``segtransfer submit``."""

from typing import Annotated

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_with_message
from segtransfer.cli.job import commands_for, follow_job
from segtransfer.cli.options import (
    AddressOption,
    OverridesArgument,
    ResumeOption,
    SpecArgument,
    StoreOption,
)
from segtransfer.jobs import DEFAULT_ADDRESS


def submit(
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    address: AddressOption = DEFAULT_ADDRESS,
    store: StoreOption = None,
    search: Annotated[bool, typer.Option("--search", help="The spec is a search.")] = False,
    resume: ResumeOption = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not follow the job.")] = False,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Hand the job this variable of the environment."),
    ] = None,
    working_dir: Annotated[
        str | None, typer.Option(help="Send this folder, for what the spec names beside it.")
    ] = None,
    package: Annotated[
        str | None, typer.Option(help="Send this wheel, or source tree, of segtransfer.")
    ] = None,
) -> None:
    """Run a spec as a job of a Ray cluster, and follow it; it outlives this terminal."""
    from segtransfer.jobs import client
    from segtransfer.jobs.bundle import JobRequest, pack

    with exit_with_message(spec):
        request = JobRequest(spec, tuple(overrides or ()), store, search, resume)
        with pack(request, working_dir, package, env or ()) as bundle:
            job = client.submit(client.connect(address), bundle)
        console.print(f"Job {job} is submitted.\n{commands_for(job, address)}", highlight=False)
        if not detach:
            follow_job(job, address)
