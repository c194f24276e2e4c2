"""The verb ``segtransfer submit``."""

from typing import Annotated

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_with_message
from segtransfer.cli.job import commands_for, follow_job
from segtransfer.cli.options import (
    AddressOption,
    OverridesArgument,
    SpecArgument,
    StoreOption,
)
from segtransfer.errors import InputError
from segtransfer.jobs import DEFAULT_ADDRESS

UPLOAD_PANEL = "Upload"

SearchOption = Annotated[
    bool,
    typer.Option("--search", help="Read SPEC as a search. Default: read an experiment."),
]
ResumeJobOption = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="With --search: resume an interrupted search with its stored trials. Default: refuse "
        "a search whose trials are stored and incomplete.",
    ),
]
DetachOption = Annotated[
    bool,
    typer.Option(
        "--detach",
        help="Exit after the submission. Default: print the job's log until the job ends.",
    ),
]
EnvOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Environment variable to set in the job to its value here; repeatable. Default: none.",
        rich_help_panel=UPLOAD_PANEL,
    ),
]
WorkingDirOption = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder to upload as the job's working folder, with the spec, data, models and "
        "code in it. Default: upload the spec alone.",
        rich_help_panel=UPLOAD_PANEL,
    ),
]
PackageOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Wheel or source tree of segtransfer to upload. Default: use the installed "
        "package of the nodes.",
        rich_help_panel=UPLOAD_PANEL,
    ),
]


def submit(
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    address: AddressOption = DEFAULT_ADDRESS,
    store: StoreOption = None,
    search: SearchOption = False,
    resume: ResumeJobOption = False,
    detach: DetachOption = False,
    env: EnvOption = None,
    working_dir: WorkingDirOption = None,
    package: PackageOption = None,
) -> None:
    """Run a spec as a job on a Ray cluster, and print the job's log.

    The job continues if this terminal closes or Ctrl-C is pressed.

    Example:
        segtransfer submit mine.yaml --store s3://bucket/lab
        segtransfer submit mine.yaml --working-dir . --env MLFLOW_TRACKING_URI

    Docs: how-to/team, how-to/ray, how-to/four-nodes

    Raises:
        typer.Exit: With the exit code of a failed or stopped job, with code 130 after Ctrl-C, and
            with code 2 if the spec or an option is wrong or no cluster answers.
    """
    from segtransfer.jobs import client
    from segtransfer.jobs.bundle import JobRequest, pack

    with exit_with_message(spec):
        if resume and not search:
            raise InputError(
                "--resume is an option of searches; add --search, or leave --resume out, because a "
                "run resumes without an option"
            )
        request = JobRequest(spec, tuple(overrides or ()), store, search, resume)
        with pack(request, working_dir, package, env or ()) as bundle, exit_with_message(""):
            job = client.submit(client.connect(address), bundle)
        console.print(f"Submitted job {job}.\n{commands_for(job, address)}", highlight=False)
        if not detach:
            follow_job(job, address)
