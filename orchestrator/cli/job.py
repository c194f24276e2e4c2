"""``segtransfer job``: status, follow, stop."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from segtransfer.cli.console import console, errors
from segtransfer.cli.exits import ExitCode, exit_with_message
from segtransfer.cli.json_output import JsonOption, print_json
from segtransfer.cli.options import AddressOption
from segtransfer.jobs import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from segtransfer.jobs.client import JobDetails

job_app = typer.Typer(no_args_is_help=True, help="Jobs that 'submit' sent to a Ray cluster.")
JobArgument = Annotated[str, typer.Argument(help="The job's id, as 'submit' printed it.")]


@job_app.command("status")
def job_status(
    job: JobArgument, address: AddressOption = DEFAULT_ADDRESS, as_json: JsonOption = False
) -> None:
    """Print a job's state, exit code, times and command."""
    from segtransfer.jobs.client import connect, job_details

    with exit_with_message(job):
        _show(job_details(connect(address), job), as_json)


@job_app.command("follow")
def job_follow(job: JobArgument, address: AddressOption = DEFAULT_ADDRESS) -> None:
    """Print a job's log until it ends, and leave with its exit code."""
    with exit_with_message(job):
        follow_job(job, address)


@job_app.command("stop")
def job_stop(
    job: JobArgument, address: AddressOption = DEFAULT_ADDRESS, as_json: JsonOption = False
) -> None:
    """Stop a job, and wait until it has logged what it did."""
    from segtransfer.jobs.client import connect, stop

    with exit_with_message(job):
        _show(stop(connect(address), job), as_json)


def _show(details: "JobDetails", as_json: bool) -> None:
    from segtransfer.reporting.jobs import job_facts, print_job

    if as_json:
        print_json(job_facts(details))
    else:
        print_job(details, console)


def follow_job(job: str, address: str) -> None:
    """Print a job's log to its end; Ctrl-C detaches and leaves the job running.

    Raises:
        typer.Exit: The job failed or was stopped, with its exit code; or Ctrl-C was pressed.
    """
    from segtransfer.jobs.client import connect, exit_code, follow, last_word

    def write(text: str) -> None:
        console.file.write(text)
        console.file.flush()

    try:
        details = follow(connect(address), job, write)
    except KeyboardInterrupt:
        commands = commands_for(job, address)
        errors.print(f"\nDetached: job {job} goes on.\n{commands}", highlight=False)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if word := last_word(details):
        errors.print(f"[red]error:[/red] {escape(word)}", highlight=False)
    if code := exit_code(details):
        raise typer.Exit(code)


def commands_for(job: str, address: str) -> str:
    """Return the commands that follow and stop a job, one per line."""
    return (
        f"Follow it: segtransfer job follow {job} --address {address}\n"
        f"Stop it: segtransfer job stop {job} --address {address}"
    )
