"""Reports and MLflow runs of results, and lines with the location of each."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from segtransfer.cli import tracebacks
from segtransfer.cli.console import console, errors
from segtransfer.cli.exits import ExitCode, keep_traceback

if TYPE_CHECKING:
    from segtransfer.comparison import Comparison
    from segtransfer.results import Results
    from segtransfer.searches import SearchResult
    from segtransfer.store import Store


def show_results(results: "Results", tracking: bool, *, redraw: bool = False) -> bool:
    """Write the report and the MLflow run of results, and print the location of each.

    Results are complete without both, so that a failure is a warning. The store notes a run whose
    MLflow run failed, for ``list_unlogged``.

    Args:
        results: The results.
        tracking: Whether to log to MLflow.
        redraw: Whether to write the report even if the present report is up to date.

    Returns:
        False if the report or the MLflow run could not be written.
    """
    from segtransfer.reporting.places import PAGE, is_current, report_folder

    console.print(f"\nStore:  {results.store.location}", highlight=False)

    def draw() -> None:
        if redraw or not is_current(results):
            from segtransfer.reporting.folder import write_report  # imports libraries of figures

            write_report(results)

    from segtransfer.store.unlogged import forget, note

    if not drawn("report", draw):
        if tracking:  # an MLflow run holds the report's files, so none is logged without them
            note(results.store, results.identity, results.name, "its report could not be written")
        return False
    console.print(f"Report: {report_folder(results)}", highlight=False)
    console.print(f"Page:   {report_folder(results) / PAGE}", highlight=False)
    if not tracking:
        return True
    from segtransfer.tracking.places import TrackingError, how_to_open

    try:
        uri, address = _logged(results)
        console.print(f"MLflow: {how_to_open(uri)}", highlight=False)
        console.print(f"        {address}", highlight=False, soft_wrap=True)
    except TrackingError as error:
        note(results.store, results.identity, results.name, str(error))
        _warn(error)
        errors.print(f"To log later: segtransfer report {results.store.location} --log")
        return False
    forget(results.store, results.identity)
    return True


def _logged(results: "Results") -> tuple[str, str]:
    """Log results to MLflow unless the runs there show them as they are.

    Returns:
        The tracking URI, and the UI's address of the runs.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    from segtransfer.tracking.current import current_address
    from segtransfer.tracking.places import tracking_uri

    uri = tracking_uri()
    address = current_address(results, uri)
    if address is None:
        from segtransfer.tracking.experiments import log_results  # imports mlflow
        from segtransfer.tracking.runs import runs_address

        log_results(results)
        address = runs_address(uri, results.name)
    return uri, address


def show_index(store: "Store") -> None:
    """Write the index of a store's reports and print its location; a failure is a warning."""
    from segtransfer.reporting.html.index import INDEX, write_index
    from segtransfer.reporting.places import reports_root

    if drawn("index", lambda: write_index(store)):
        console.print(f"Index:  {reports_root(store.location) / INDEX}", highlight=False)


def drawn(noun: str, draw: Callable[[], object]) -> bool:
    """Call a function that writes a report of complete results; print its failure as a warning.

    Args:
        noun: Name of the report, for the warning.
        draw: Writes the report. Every Exception is caught.

    Returns:
        Whether the report was written.
    """
    try:
        draw()
    except Exception as error:
        cause = str(error).strip().splitlines() or [""]
        errors.print(
            f"[yellow]warning: the {noun} could not be written ({type(error).__name__}: "
            f"{escape(cause[0])}); the results are complete in the store. "
            f"{escape(keep_traceback(error))}[/yellow]",
            highlight=False,
        )
        if tracebacks.shown:
            errors.print(escape(tracebacks.text_of(error)), highlight=False)
        return False
    return True


def exit_if_untracked(required: bool, shown: bool) -> None:
    """Exit with code 1 if a required report or MLflow run could not be written.

    Args:
        required: Whether ``--require-tracking`` was given.
        shown: Whether the report and the MLflow run were written.

    Raises:
        typer.Exit: With code 1 if ``required`` and not ``shown``.
    """
    if required and not shown:
        errors.print(
            "[red]error:[/red] --require-tracking: the report or the MLflow run could not be "
            "written; the warning above has the cause",
            highlight=False,
        )
        raise typer.Exit(ExitCode.FAILED)


def list_unlogged(store: "Store", told: Collection[str]) -> None:
    """Print on standard error the runs of a store that could not be logged to MLflow.

    Args:
        store: The store.
        told: Identities of runs to leave out, because their warning has just been printed.
    """
    from segtransfer.store.unlogged import unlogged

    runs = [run for run in unlogged(store) if run.identity not in told]
    if runs:
        errors.print(f"\n[yellow]Not logged to MLflow ({len(runs)}):[/yellow]")
    for run in runs:
        label = escape(f"{run.name}-{run.identity[:12]} since {run.at}: {run.cause}")
        errors.print(f"  {label}", highlight=False)
    if runs:
        errors.print(f"To log experiments: segtransfer report {store.location} --log")
        errors.print("To log a search: run its command again with --resume.")


def log_comparison(comparison: "Comparison") -> None:
    """Log a comparison to MLflow if B is logged there, and print how to open the MLflow run.

    A failure of MLflow is printed as a warning.
    """
    from segtransfer.tracking import comparisons
    from segtransfer.tracking.places import TrackingError, how_to_open

    try:
        if not comparisons.is_logged(comparison.b):
            location = comparison.b.store.location
            console.print(
                f"Not logged to MLflow, because {comparison.b.name} is not logged. To log it "
                f"first: segtransfer report {location} --log",
                highlight=False,
                markup=False,
            )
            return
        uri = comparisons.log_comparison(comparison)
        console.print(f"MLflow: {how_to_open(uri)}", highlight=False)
    except TrackingError as error:
        _warn(error)
        errors.print("To log later: run the same command again.")


def log_search(result: "SearchResult") -> bool:
    """Log a search to MLflow, and print how to open its MLflow runs.

    A failure of MLflow is printed as a warning and noted in the store, for ``list_unlogged``.

    Returns:
        Whether the search was logged.
    """
    from segtransfer.store.unlogged import forget, note
    from segtransfer.tracking import searches
    from segtransfer.tracking.places import TrackingError, how_to_open
    from segtransfer.tracking.runs import runs_address

    store, identity = result.results.store, result.context.identity
    try:
        uri, name = searches.log_search(result), result.context.search.name
        console.print(f"MLflow: {how_to_open(uri)}", highlight=False)
        console.print(f"        {runs_address(uri, name)}", highlight=False, soft_wrap=True)
    except TrackingError as error:
        note(store, identity, result.context.search.name, str(error))
        _warn(error)
        errors.print("To log later: run the same command again. No task is computed again.")
        return False
    forget(store, identity)
    return True


def _warn(error: Exception) -> None:
    """Print the cause of a failing MLflow, and the path of the traceback if there is a cause."""
    kept = f" ({keep_traceback(error)})" if error.__cause__ else ""
    errors.print(f"[yellow]{escape(str(error) + kept)}[/yellow]", highlight=False)
