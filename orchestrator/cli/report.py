"""``segtransfer report``."""

from typing import Annotated

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import ExitCode, exit_with_message
from segtransfer.cli.options import ExperimentOption, LocationArgument
from segtransfer.cli.projections import show_results


def report(
    store: LocationArgument,
    experiment: ExperimentOption = None,
    log: Annotated[bool, typer.Option(help="Bring MLflow up to date with the store.")] = False,
) -> None:
    """Print and redraw the experiments of a store, and log them; nothing is computed."""
    from segtransfer.reporting.folder import write_report
    from segtransfer.reporting.terminal import print_results
    from segtransfer.results import results_of
    from segtransfer.results.lookup import experiments_of
    from segtransfer.store.maintenance import open_existing

    with exit_with_message(store):
        opened, logged = open_existing(store), True
        for identity, content in experiments_of(opened, experiment).items():
            results = results_of(opened, identity, content)
            console.rule(results.name)
            print_results(results, console)
            write_report(results)
            logged &= show_results(results, log)
        if not logged:
            raise typer.Exit(ExitCode.FAILED)
