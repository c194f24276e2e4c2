"""The command with its verbs, in the order that ``--help`` lists them, and its entry point."""

import logging
import os
import sys
from contextlib import suppress
from importlib.metadata import version
from typing import Annotated

import typer

from segtransfer.cli import tracebacks
from segtransfer.cli.attacks import attacks
from segtransfer.cli.boundary import Boundary
from segtransfer.cli.compare import compare
from segtransfer.cli.console import console
from segtransfer.cli.data import data_app
from segtransfer.cli.doctor import doctor
from segtransfer.cli.exits import exit_with_message
from segtransfer.cli.export import export
from segtransfer.cli.fleet import fleet_app
from segtransfer.cli.infra import infra_app
from segtransfer.cli.init import init
from segtransfer.cli.job import job_app
from segtransfer.cli.models import models
from segtransfer.cli.plan import plan
from segtransfer.cli.report import report
from segtransfer.cli.run import run
from segtransfer.cli.schema import schema
from segtransfer.cli.search import search
from segtransfer.cli.store import store_app
from segtransfer.cli.study import study
from segtransfer.cli.submit import submit
from segtransfer.experiment.shadowing import check_not_shadowed

app = typer.Typer(
    cls=Boundary,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure how adversarial examples transfer between segmentation models.",
)
for _verb in (
    run, search, study, plan, report, export, compare,
    init, schema, models, attacks, doctor, submit,
):  # fmt: skip
    app.command()(_verb)
app.add_typer(data_app, name="data")
app.add_typer(fleet_app, name="fleet")
app.add_typer(store_app, name="store")
app.add_typer(job_app, name="job")
app.add_typer(infra_app, name="infra")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"segtransfer {version('segtransfer')}")
        raise typer.Exit


@app.callback()
def before_any_verb(
    context: typer.Context,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print the traceback of an error as well.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print what is done as log lines as well.")
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="Print warnings and errors alone, and the value of --json."
        ),
    ] = False,
) -> None:
    """Handle the options before the verb, and refuse a working folder that hides segtransfer."""
    tracebacks.show(debug)
    console.quiet = quiet
    logging.getLogger("segtransfer").setLevel(logging.INFO if verbose else logging.WARNING)
    if context.invoked_subcommand != "doctor":  # doctor reports it with all else
        with exit_with_message(""):
            check_not_shadowed()


def main() -> None:
    """Run the command: the entry point that is installed."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # Models and losses of one's own lie in the working folder; Ray hands the path to its workers.
    with suppress(OSError):  # the folder was deleted; the verb says so if it needs the folder
        sys.path.append(os.getcwd())
    app()
