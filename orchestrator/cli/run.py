"""The verb ``segtransfer run``."""

from typing import TYPE_CHECKING, Annotated

import typer

from segtransfer import api
from segtransfer.cli.console import console
from segtransfer.cli.exits import RERUN, exit_if_failed, exit_with_message
from segtransfer.cli.options import (
    WORK_PANEL,
    ExecutorOption,
    FleetOption,
    OverridesArgument,
    RequireTrackingOption,
    SpecArgument,
    StoreOption,
    TrackingOption,
    with_options,
)
from segtransfer.cli.projections import exit_if_untracked, show_index, show_results
from segtransfer.runtime.interrupts import Terminated, terminable

if TYPE_CHECKING:
    from segtransfer.reporting.progress import ProgressView
    from segtransfer.results import Results

MaxHoursOption = Annotated[
    float | None,
    typer.Option(
        metavar="HOURS",
        help="Stop after this many hours and report partial results. Default: "
        "runtime.max_hours of the spec, which is no limit unless set.",
        rich_help_panel=WORK_PANEL,
    ),
]


def run(
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    executor: ExecutorOption = None,
    store: StoreOption = None,
    tracking: TrackingOption = True,
    require_tracking: RequireTrackingOption = False,
    fleet: FleetOption = None,
    max_hours: MaxHoursOption = None,
) -> None:
    """Run an experiment: attack each source, score every target, and report the matrices.

    Stored results are not computed again, so that the same command resumes an interrupted run.

    Example:
        segtransfer run quickstart
        segtransfer run mine.yaml attacks.0.eps=8/255 --max-hours 2

    Docs: how-to/one-node, explanation/results

    Raises:
        typer.Exit: With code 1 if tasks failed, 2 if the spec, the data or a model is wrong, 130
            after Ctrl-C and 143 after SIGTERM.
    """
    from segtransfer.reporting.progress import ProgressView

    with exit_with_message(spec, RERUN), terminable():
        options = with_options(
            overrides, executor=executor, store=store, fleet=fleet, max_hours=max_hours
        )
        progress = ProgressView(console)
        try:
            # Importing torch takes seconds, so the first line of progress is printed before.
            progress.stage("Reading the spec", spec)
            from segtransfer.experiment.reading import read_experiment
            from segtransfer.reporting.terminal import print_results

            experiment = read_experiment(spec, options)
            results = api.run(experiment, listener=progress)
        finally:
            progress.stop()
        print_results(results, console)
        shown = show_results(results, tracking and experiment.runtime.tracking)
        show_index(results.store)
        print_end(results, progress, experiment.runtime.max_hours)
        exit_if_failed(results.failures)
        exit_if_untracked(require_tracking, shown)


def print_end(results: "Results", progress: "ProgressView", max_hours: float | None) -> None:
    """Print the number of computed tasks, and the number of missing tasks of a stopped run.

    Args:
        results: The results of the run.
        progress: The view of the run.
        max_hours: The time limit of the run in hours, if it had one.

    Raises:
        Terminated: SIGTERM stopped the run.
    """
    if results.computed:
        console.print(
            f"Computed {results.computed} tasks in {progress.wall_seconds:.0f} s. Models worked "
            f"for {progress.model_seconds:.0f} s, summed over all slots.",
            highlight=False,
        )
    if results.stopped == "terminated":
        raise Terminated
    if results.stopped:
        console.print(
            f"Stopped after {max_hours:g} h: {len(results.missing)} tasks have no result yet, so "
            f"that matrices are partial. {RERUN}"
        )
