"""The verb ``segtransfer report``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from segtransfer.cli.console import console, errors
from segtransfer.cli.exits import ExitCode, exit_with_message
from segtransfer.cli.options import LocationArgument
from segtransfer.cli.projections import drawn, list_unlogged, show_index, show_results
from segtransfer.errors import InputError

if TYPE_CHECKING:
    from segtransfer.results import Results

ReportedExperimentOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Experiment to report: its name, or at least four first characters of its "
        "identity. Default: all experiments of the store.",
    ),
]
LogOption = Annotated[
    bool,
    typer.Option(help="Log to MLflow the experiments whose MLflow run is missing or outdated."),
]
ImagesOption = Annotated[
    bool,
    typer.Option("--images", help="Also write HTML pages with every image of every cell."),
]
ByOption = Annotated[
    str,
    typer.Option(
        "--by",
        metavar="PARTS",
        help="Also break results down by parts of the images, comma-separated: class, size (of "
        "objects), boundary (against interior), image (outliers). Default: none.",
    ),
]


def report(
    store: LocationArgument,
    experiment: ReportedExperimentOption = None,
    log: LogOption = False,
    images: ImagesOption = False,
    by: ByOption = "",
) -> None:
    """Print the experiments of a store and write their reports again; no task is computed.

    Experiments whose results are not in MLflow are listed at the end.

    Example:
        segtransfer report segtransfer-store
        segtransfer report s3://bucket/lab --experiment monday --by class,size

    Docs: explanation/results

    Raises:
        typer.Exit: With code 2 if --by is unknown, or the store, an experiment or its parts cannot
            be read, and with code 1 if an experiment could not be logged with --log.
    """
    from segtransfer.reporting.terminal import print_results
    from segtransfer.results import results_of
    from segtransfer.results.lookup import experiments_of
    from segtransfer.store.maintenance import open_existing

    with exit_with_message(store):
        parts = _names(by)
        opened, unwritten, refused = open_existing(store), list[str](), False
        for identity, content in experiments_of(opened, experiment).items():
            try:
                results = results_of(opened, identity, content)
            except InputError as error:  # a damaged experiment must not hide the others
                _print_error(error)
                refused = True
                continue
            console.rule(results.name)
            print_results(results, console)
            if not show_results(results, log, redraw=True) and log:
                unwritten.append(identity)
            if images:
                _write_images(results)
            refused |= not _show_breakdowns(results, parts)
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


def _names(by: str) -> list[str]:
    """Return the names of the breakdowns in a value of ``--by``.

    Raises:
        InputError: If there is no breakdown of a name.
    """
    from segtransfer.breakdowns import check_breakdown

    names = list(dict.fromkeys(name.strip() for name in by.split(",") if name.strip()))
    for name in names:
        check_breakdown(name)
    return names


def _show_breakdowns(results: "Results", names: list[str]) -> bool:
    """Print and write breakdowns; print the error of each breakdown that cannot be made.

    Args:
        results: The experiment.
        names: Names of breakdowns.

    Returns:
        False if a breakdown could not be made.
    """
    from segtransfer.breakdowns import breakdown
    from segtransfer.reporting.breakdowns import (
        PARTS_PAGE,
        drawn_breakdown,
        print_breakdown,
        write_breakdowns,
    )

    made = []
    for name in names:
        try:
            made.append(breakdown(results, name))
        except InputError as error:  # other breakdowns and experiments may be sound
            _print_error(error)
            continue
        print_breakdown(drawn_breakdown(results, made[-1]), console)
    written: list[Path] = []
    if made and drawn("breakdowns", lambda: written.append(write_breakdowns(results, made))):
        console.print(f"Breakdowns: {written[0] / PARTS_PAGE}", highlight=False)
    return len(made) == len(names)


def _print_error(error: InputError) -> None:
    errors.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
