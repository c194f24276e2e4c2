"""Reports and MLflow runs of results, and the lines that say where they are."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from segtransfer.cli import tracebacks
from segtransfer.cli.console import console, errors
from segtransfer.cli.exits import ExitCode, where_kept

if TYPE_CHECKING:
    from segtransfer.comparison import Comparison
    from segtransfer.results import Results
    from segtransfer.searches import SearchResult
    from segtransfer.store import Store


def show_results(results: "Results", tracking: bool, *, redraw: bool = False) -> bool:
    """Draw the report and log to MLflow, if outdated, and print the location of each.

    Results are complete without either, so that a failure is a warning.

    Args:
        results: The results.
        tracking: Whether to log to MLflow.
        redraw: Whether to draw a report that is up to date, too.

    Returns:
        False if the report or MLflow could not be written.
    """
    from segtransfer.reporting.folder import PAGE, is_current, report_folder, write_report

    console.print(f"\nStore:  {results.store.location}", highlight=False)

    def draw() -> None:
        if redraw or not is_current(results):
            write_report(results)

    from segtransfer.store.unlogged import forget, note

    if not drawn("report", draw):
        if tracking:  # which logs the report's files
            note(results.store, results.identity, results.name, "its report could not be written")
        return False
    console.print(f"Report: {report_folder(results)}", highlight=False)
    console.print(f"Page:   {report_folder(results) / PAGE}", highlight=False)
    if not tracking:
        return True
    from segtransfer.tracking import TrackingError, how_to_open, log_results, runs_address

    try:
        uri = log_results(results)
        console.print(f"MLflow: {how_to_open(uri)}", highlight=False)
        console.print(f"        {runs_address(uri, results.name)}", highlight=False, soft_wrap=True)
    except TrackingError as error:
        note(results.store, results.identity, results.name, str(error))
        _warn(error)
        errors.print(f"Log it later with: segtransfer report {results.store.location} --log")
        return False
    forget(results.store, results.identity)
    return True


def show_index(store: "Store") -> None:
    """Write the index of a store's reports and print its location; a failure is a warning."""
    from segtransfer.reporting.folder import reports_root
    from segtransfer.reporting.html.index import INDEX, write_index

    if drawn("index", lambda: write_index(store)):
        console.print(f"Index:  {reports_root(store.location) / INDEX}", highlight=False)


def drawn(noun: str, draw: Callable[[], object]) -> bool:
    """Draw something of results that are complete without it; a failure is a warning.

    Args:
        noun: What is drawn, for the warning.
        draw: Draws it.

    Returns:
        False if drawing failed.
    """
    try:
        draw()
    except Exception as error:
        cause = str(error).strip().splitlines() or [""]
        errors.print(
            f"[yellow]warning: the {noun} could not be written ({type(error).__name__}: "
            f"{escape(cause[0])}); the results are complete in the store. "
            f"{escape(where_kept(error))}[/yellow]",
            highlight=False,
        )
        if tracebacks.shown:
            errors.print(escape(tracebacks.text_of(error)), highlight=False)
        return False
    return True


def exit_if_untracked(required: bool, shown: bool) -> None:
    """End the command with code 1 if a required report or MLflow run is missing.

    Args:
        required: Whether ``--require-tracking`` was given.
        shown: Whether the report and MLflow were written.

    Raises:
        typer.Exit: They are required, and were not written.
    """
    if required and not shown:
        errors.print("[red]error:[/red] --require-tracking: see the warning above", highlight=False)
        raise typer.Exit(ExitCode.FAILED)


def list_unlogged(store: "Store", told: Collection[str]) -> None:
    """Print the runs of a store that could not be logged to MLflow.

    Args:
        store: The store.
        told: Identities of runs whose warning was printed a moment ago.
    """
    from segtransfer.store.unlogged import unlogged

    runs = [run for run in unlogged(store) if run.identity not in told]
    if runs:
        errors.print(f"\n[yellow]Not logged to MLflow ({len(runs)}):[/yellow]")
    for run in runs:
        label = escape(f"{run.name}-{run.identity[:12]} since {run.at}: {run.cause}")
        errors.print(f"  {label}", highlight=False)
    if runs:
        errors.print(f"Log experiments with: segtransfer report {store.location} --log")
        errors.print("Log a search by the same command as before, with --resume.")


def log_comparison(comparison: "Comparison") -> None:
    """Log a comparison to MLflow if B is logged there, and print how to open the run."""
    from segtransfer.tracking import TrackingError, comparisons, how_to_open

    try:
        if not comparisons.is_logged(comparison.b):
            location = comparison.b.store.location
            console.print(
                f"Not in MLflow, because {comparison.b.name} is not: "
                f"'segtransfer report {location} --log' logs it.",
                highlight=False,
                markup=False,
            )
            return
        uri = comparisons.log_comparison(comparison)
        console.print(f"MLflow: {how_to_open(uri)}", highlight=False)
    except TrackingError as error:
        _warn(error)
        errors.print("Log it later with the same command.")


def log_search(result: "SearchResult") -> bool:
    """Log a search to MLflow and print how to open its runs.

    Returns:
        False if MLflow could not be written.
    """
    from segtransfer.store.unlogged import forget, note
    from segtransfer.tracking import TrackingError, how_to_open, runs_address, searches

    store, identity = result.results.store, result.context.identity
    try:
        uri, name = searches.log_search(result), result.context.search.name
        console.print(f"MLflow: {how_to_open(uri)}", highlight=False)
        console.print(f"        {runs_address(uri, name)}", highlight=False, soft_wrap=True)
    except TrackingError as error:
        note(store, identity, result.context.search.name, str(error))
        _warn(error)
        errors.print("Log it later with the same command: nothing is computed again.")
        return False
    forget(store, identity)
    return True


def _warn(error: Exception) -> None:
    """Print why MLflow was not written, and where the error is kept in full."""
    kept = f" ({where_kept(error)})" if error.__cause__ else ""
    errors.print(f"[yellow]{escape(str(error) + kept)}[/yellow]", highlight=False)
