"""The verb ``segtransfer study``."""

from typing import Annotated

import typer
from rich.markup import escape

from segtransfer import api
from segtransfer.cli.console import console, errors
from segtransfer.cli.exits import RERUN, ExitCode, exit_if_failed, exit_with_message
from segtransfer.cli.options import (
    ExecutorOption,
    RequireTrackingOption,
    StoreOption,
    TrackingOption,
    with_options,
)
from segtransfer.cli.projections import drawn, exit_if_untracked, show_index, show_results

StudyArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Name of a study, for example scales; an unknown name prints all names.",
    ),
]
BaseArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="BASE OVERRIDES",
        help="BASE: YAML file of an experiment with the models and images, or a shipped base: "
        "zoo or camvid. OVERRIDES: changes of the base, applied in order: field.path=value, "
        "for example data.images=50. Default: the base zoo without changes.",
    ),
]


def study(
    name: StudyArgument,
    given: BaseArgument = None,
    executor: ExecutorOption = None,
    store: StoreOption = None,
    tracking: TrackingOption = True,
    require_tracking: RequireTrackingOption = False,
) -> None:
    """Run a prepared study: answer a question about transfer by a figure and a paragraph.

    Example:
        segtransfer study scales
        segtransfer study scales mine.yaml data.images=50

    Docs: explanation/results

    Raises:
        typer.Exit: With code 1 if tasks failed or are unfinished, 2 if the study or its base is
            wrong, and 130 after Ctrl-C.
    """
    from segtransfer.reporting.places import report_folder
    from segtransfer.reporting.progress import ProgressView
    from segtransfer.reporting.studies import write_study
    from segtransfer.reporting.terminal import print_warnings
    from segtransfer.studies import IncompleteStudyError, find_study, read_base, split_base

    source, overrides = split_base(given or [])
    with exit_with_message("", RERUN):
        find_study(name)
        base = read_base(source, with_options(overrides, executor=executor, store=store))
        progress = ProgressView(console)
        try:
            result = api.study(name, base, listener=progress)
        except IncompleteStudyError as error:
            exit_if_failed(error.results.failures)
            missing = len(error.results.missing)
            errors.print(f"{missing} tasks have no result yet. {RERUN}")
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
