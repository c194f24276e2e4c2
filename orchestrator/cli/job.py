"""The verbs ``segtransfer job status``, ``follow`` and ``stop``."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from segtransfer.cli.console import console, errors
from segtransfer.cli.exits import ExitCode, exit_with_message
from segtransfer.cli.help import help_text, verb
from segtransfer.cli.json_output import JsonOption, print_json
from segtransfer.cli.options import AddressOption
from segtransfer.jobs import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from segtransfer.jobs.client import JobDetails

job_app = typer.Typer(
    name="job",
    no_args_is_help=True,
    help=help_text(
        """Show, follow and stop jobs that 'segtransfer submit' sent to a Ray cluster.

        Docs: how-to/ray, how-to/four-nodes
        """
    ),
)
JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="Id of the job, as printed by 'segtransfer submit'.")
]


@verb(job_app, "status")
def job_status(
    job: JobArgument, address: AddressOption = DEFAULT_ADDRESS, as_json: JsonOption = False
) -> None:
    """Print a job's state, exit code, times and command.

    Example:
        segtransfer job status raysubmit_8vYqhCmg3rKp2Lxz

    Docs: how-to/ray

    Raises:
        typer.Exit: With code 2 if the job is unknown or no cluster answers.
    """
    from segtransfer.jobs.client import connect, job_details

    with exit_with_message(""):
        _show(job_details(connect(address), job), as_json)


@verb(job_app, "follow")
def job_follow(job: JobArgument, address: AddressOption = DEFAULT_ADDRESS) -> None:
    """Print a job's log until the job ends, and exit with the job's code.

    Ctrl-C detaches from the log; the job continues.

    Example:
        segtransfer job follow raysubmit_8vYqhCmg3rKp2Lxz

    Docs: how-to/ray

    Raises:
        typer.Exit: With the exit code of a failed or stopped job, with code 130 after Ctrl-C, and
            with code 2 if the job is unknown or no cluster answers.
    """
    with exit_with_message(""):
        follow_job(job, address)


@verb(job_app, "stop")
def job_stop(
    job: JobArgument, address: AddressOption = DEFAULT_ADDRESS, as_json: JsonOption = False
) -> None:
    """Stop a job, wait until it has written its report and MLflow run, and print its state.

    Example:
        segtransfer job stop raysubmit_8vYqhCmg3rKp2Lxz

    Docs: how-to/ray

    Raises:
        typer.Exit: With code 2 if the job is unknown or no cluster answers.
    """
    from segtransfer.jobs.client import connect, stop

    with exit_with_message(""):
        _show(stop(connect(address), job), as_json)


def _show(details: "JobDetails", as_json: bool) -> None:
    from segtransfer.reporting.jobs import job_facts, print_job

    if as_json:
        print_json(job_facts(details))
    else:
        print_job(details, console)


def follow_job(job: str, address: str) -> None:
    """Print a job's log until the job ends; Ctrl-C detaches, and the job continues.

    Args:
        job: Id of the job.
        address: URL of the cluster's dashboard.

    Raises:
        typer.Exit: With the exit code of a failed or stopped job, or with code 130 after Ctrl-C.
        InputError: The job is unknown or no cluster answers.
    """
    from segtransfer.jobs.client import connect, exit_code, follow, last_word

    def write(text: str) -> None:
        console.file.write(text)
        console.file.flush()

    try:
        details = follow(connect(address), job, write)
    except KeyboardInterrupt:
        commands = commands_for(job, address)
        errors.print(f"\nDetached. Job {job} continues.\n{commands}", highlight=False)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if word := last_word(details):
        errors.print(f"[red]error:[/red] {escape(word)}", highlight=False)
    if code := exit_code(details):
        raise typer.Exit(code)


def commands_for(job: str, address: str) -> str:
    """Return the commands that follow and stop a job, one per line."""
    return (
        f"To follow: segtransfer job follow {job} --address {address}\n"
        f"To stop:   segtransfer job stop {job} --address {address}"
    )
