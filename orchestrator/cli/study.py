"""``segtransfer study``."""

from typing import Annotated

import typer
from rich.markup import escape

from segtransfer import api
from segtransfer.cli.console import console, errors
from segtransfer.cli.exits import GO_ON, ExitCode, exit_if_failed, exit_with_message
from segtransfer.cli.options import (
    ExecutorOption,
    RequireTrackingOption,
    StoreOption,
    TrackingOption,
    with_options,
)
from segtransfer.cli.projections import drawn, exit_if_untracked, show_index, show_results


def study(
    name: Annotated[
        str,
        typer.Argument(help="The name of a study; an unknown name is answered with all of them."),
    ],
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BASE] [OVERRIDES]...",
            help="A YAML file of an experiment, or one that ships: zoo (if left out), camvid; "
            "then field.path=value.",
        ),
    ] = None,
    executor: ExecutorOption = None,
    store: StoreOption = None,
    tracking: TrackingOption = True,
    require_tracking: RequireTrackingOption = False,
) -> None:
    """Answer a question about transfer between any models: a figure, and a paragraph of numbers."""
    from segtransfer.reporting.folder import report_folder
    from segtransfer.reporting.progress import ProgressView
    from segtransfer.reporting.studies import write_study
    from segtransfer.reporting.terminal import print_warnings
    from segtransfer.studies import IncompleteStudyError, find_study, read_base, split_base

    source, overrides = split_base(given or [])
    with exit_with_message("", GO_ON):
        find_study(name)
        base = read_base(source, with_options(overrides, executor=executor, store=store))
        progress = ProgressView(console)
        try:
            result = api.study(name, base, listener=progress)
        except IncompleteStudyError as error:
            exit_if_failed(error.results.failures)
            missing = len(error.results.missing)
            errors.print(f"{missing} tasks have no result yet. Run again to go on.")
            raise typer.Exit(ExitCode.FAILED) from None
        finally:
            progress.stop()
        shown = drawn("figure", lambda: write_study(result))
        console.print(f"\n[bold]{escape(result.study.question)}[/bold]\n")
        console.print(result.paragraph, highlight=False, markup=False)
        print_warnings(result.results.warnings, console)
        if shown:
            console.print(f"\nFigure: {report_folder(result.results)}/study.png", highlight=False)
        if tracking and base.runtime.tracking:
            shown &= show_results(result.results, True)
        show_index(result.results.store)
        exit_if_untracked(require_tracking, shown)
