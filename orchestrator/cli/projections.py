"""Reports and MLflow runs of results, and the lines that say where they are."""

from typing import TYPE_CHECKING

from rich.markup import escape

from segtransfer.cli.console import console, errors

if TYPE_CHECKING:
    from segtransfer.comparison import Comparison
    from segtransfer.results import Results
    from segtransfer.searches import SearchResult


def show_results(results: "Results", tracking: bool) -> bool:
    """Draw the report and log to MLflow, if outdated, and print the location of each.

    Returns:
        False if logging failed.
    """
    from segtransfer.reporting.folder import PAGE, is_current, report_folder, write_report

    if not is_current(results):
        write_report(results)
    console.print(f"\nStore:  {results.store.location}", highlight=False)
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
        errors.print(f"[yellow]{escape(str(error))}[/yellow]")
        errors.print(f"Log it later with: segtransfer report {results.store.location} --log")
        return False
    return True


def log_comparison(comparison: "Comparison") -> None:
    """Log a comparison to MLflow and print how to open the run."""
    from segtransfer.tracking import TrackingError, comparisons, how_to_open

    try:
        uri = comparisons.log_comparison(comparison)
        console.print(f"MLflow: {how_to_open(uri)}", highlight=False)
    except TrackingError as error:
        errors.print(f"[yellow]{escape(str(error))}[/yellow]")
        errors.print("Log it later with the same command.")


def log_search(result: "SearchResult") -> None:
    """Log a search to MLflow and print how to open its runs."""
    from segtransfer.tracking import TrackingError, how_to_open, runs_address, searches

    try:
        uri, name = searches.log_search(result), result.context.search.name
        console.print(f"MLflow: {how_to_open(uri)}", highlight=False)
        console.print(f"        {runs_address(uri, name)}", highlight=False, soft_wrap=True)
    except TrackingError as error:
        errors.print(f"[yellow]{escape(str(error))}[/yellow]")
        errors.print("Log it later with the same command: nothing is computed again.")
