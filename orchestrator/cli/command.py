"""The command with its verbs, in the order of ``segtransfer --help``, and its entry point."""

import logging
import os
import sys
from collections.abc import Callable
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
from segtransfer.cli.export import export
from segtransfer.cli.fleet import fleet_app
from segtransfer.cli.help import help_text, verb
from segtransfer.cli.infra import infra_app
from segtransfer.cli.init import init
from segtransfer.cli.job import job_app
from segtransfer.cli.later import import_later
from segtransfer.cli.leaderboard import leaderboard_app
from segtransfer.cli.models import models
from segtransfer.cli.plan import plan
from segtransfer.cli.report import report
from segtransfer.cli.run import run
from segtransfer.cli.schema import schema
from segtransfer.cli.search import search
from segtransfer.cli.store import store_app
from segtransfer.cli.study import study
from segtransfer.cli.submit import submit

PANELS: dict[str, tuple[Callable[..., None] | typer.Typer, ...]] = {
    "Measure": (init, plan, run, search, study, leaderboard_app, data_app),
    "Explore": (report, compare, models, attacks, schema, doctor),
    "Cluster": (submit, job_app, fleet_app, infra_app),
    "Store": (export, store_app),
}
app = typer.Typer(
    cls=Boundary,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=help_text(
        """Measure how adversarial examples transfer between segmentation models.

        Example:
            segtransfer run quickstart

        Docs: reference/command, reference/command-line, how-to/failures
        """
    ),
)
for _panel, _verbs in PANELS.items():
    for _verb in _verbs:
        if isinstance(_verb, typer.Typer):
            app.add_typer(_verb, rich_help_panel=_panel)
        else:
            verb(app, panel=_panel)(_verb)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"segtransfer {version('segtransfer')}")
        raise typer.Exit


@app.callback()
def before_any_verb(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version of segtransfer and exit.",
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            help="Also print the traceback of an error. Default: write the traceback to a file.",
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Also print log lines of level info on standard error. Default: warnings.",
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Print only warnings, errors and the value of --json. Default: print results and "
            "progress too.",
        ),
    ] = False,
) -> None:
    """Apply the options of every verb."""
    tracebacks.show(debug)
    console.quiet = quiet
    logging.getLogger("segtransfer").setLevel(logging.INFO if verbose else logging.WARNING)


def main() -> None:
    """Run the command, as the installed script ``segtransfer`` does.

    Raises:
        SystemExit: Always, with the exit code.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # Users' models and losses are imported from the working folder; Ray sends the path to workers.
    with suppress(OSError):  # the folder was deleted, which a verb reports if it needs the folder
        sys.path.append(os.getcwd())
    import_later("torch")
    app()
