"""``segtransfer run``."""

from typing import Annotated

import typer

from segtransfer import api
from segtransfer.cli.console import console
from segtransfer.cli.exits import GO_ON, exit_if_failed, exit_with_message
from segtransfer.cli.options import (
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


def run(
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    executor: ExecutorOption = None,
    store: StoreOption = None,
    tracking: TrackingOption = True,
    require_tracking: RequireTrackingOption = False,
    fleet: FleetOption = None,
    max_hours: Annotated[
        float | None, typer.Option(help="Stop after this many hours and report partial results.")
    ] = None,
) -> None:
    """Carry out an experiment, print its matrices, draw its report, log it to MLflow."""
    from segtransfer.reporting.progress import ProgressView

    with exit_with_message(spec, GO_ON), terminable():
        options = with_options(
            overrides, executor=executor, store=store, fleet=fleet, max_hours=max_hours
        )
        progress = ProgressView(console)
        try:
            # The imports of torch and others take seconds, so the first line comes before them.
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
        if results.computed:
            console.print(
                f"Computed {results.computed} tasks in {progress.wall_seconds:.0f} s from start to "
                f"end; models worked for {progress.model_seconds:.0f} s, summed over all slots.",
                highlight=False,
            )
        if results.stopped == "terminated":
            raise Terminated
        if results.stopped:
            console.print(
                f"Stopped after {experiment.runtime.max_hours:g} h: {len(results.missing)} tasks "
                "have no result yet, and their matrices are partial. Run again to go on."
            )
        exit_if_failed(results.failures)
        exit_if_untracked(require_tracking, shown)
