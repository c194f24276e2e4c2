"""``segtransfer report``."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from segtransfer.cli.console import console, errors
from segtransfer.cli.exits import ExitCode, exit_with_message
from segtransfer.cli.options import ExperimentOption, LocationArgument
from segtransfer.cli.projections import drawn, list_unlogged, show_index, show_results
from segtransfer.errors import InputError

if TYPE_CHECKING:
    from segtransfer.results import Results


def report(
    store: LocationArgument,
    experiment: ExperimentOption = None,
    log: Annotated[bool, typer.Option(help="Bring MLflow up to date with the store.")] = False,
    images: Annotated[
        bool,
        typer.Option("--images", help="Also write pages with every image of every cell."),
    ] = False,
) -> None:
    """Print and redraw the experiments of a store, and log them; nothing is computed.

    Runs that could not be logged to MLflow are listed at the end; with --log they end with code 1.
    """
    from segtransfer.reporting.terminal import print_results
    from segtransfer.results import results_of
    from segtransfer.results.lookup import experiments_of
    from segtransfer.store.maintenance import open_existing

    with exit_with_message(store):
        opened, unwritten, refused = open_existing(store), list[str](), False
        for identity, content in experiments_of(opened, experiment).items():
            try:
                results = results_of(opened, identity, content)
            except InputError as error:  # the other experiments are reported all the same
                errors.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
                refused = True
                continue
            console.rule(results.name)
            print_results(results, console)
            if not show_results(results, log, redraw=True) and log:
                unwritten.append(identity)
            if images:
                _write_images(results)
        show_index(opened)
        list_unlogged(opened, told=unwritten)
        if refused:
            raise typer.Exit(ExitCode.WRONG_INPUT)
        if unwritten:
            raise typer.Exit(ExitCode.FAILED)


def _write_images(results: "Results") -> None:
    from segtransfer.reporting.html.images import WrittenImages, write_images

    written: list[WrittenImages] = []
    if drawn("pages of images", lambda: written.append(write_images(results))):
        shown = f"{written[0].shown} of {written[0].images} images"
        console.print(f"Images: {written[0].page} ({shown})", highlight=False)
