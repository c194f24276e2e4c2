"""``segtransfer search``."""

from typing import Annotated

import typer

from segtransfer import api
from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_if_failed, exit_with_message
from segtransfer.cli.options import (
    AgainstOption,
    FleetOption,
    RequireTrackingOption,
    ResumeOption,
    StoreOption,
    TrackingOption,
    with_options,
)
from segtransfer.cli.projections import (
    drawn,
    exit_if_untracked,
    log_search,
    show_index,
    show_results,
)
from segtransfer.runtime.interrupts import Terminated, terminable


def search(
    spec: Annotated[str, typer.Argument(help="A YAML file, or a search that ships: quickstart.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="field.path=value, for example search.trials=200")
    ] = None,
    resume: ResumeOption = False,
    store: StoreOption = None,
    tracking: TrackingOption = True,
    require_tracking: RequireTrackingOption = False,
    fleet: FleetOption = None,
    against: AgainstOption = None,
) -> None:
    """Search the attack settings that transfer best, and confirm them on what is new."""
    from segtransfer.reporting.search import print_search, search_folder, write_search
    from segtransfer.reporting.search_progress import SearchView
    from segtransfer.searches.optuna_study import dashboard_command
    from segtransfer.searches.spec import read_search

    with exit_with_message(spec, "the same line with --resume goes on"), terminable():
        read = read_search(spec, with_options(overrides, store=store, fleet=fleet))
        view = SearchView(console)
        try:
            result = api.search(read, resume=resume, against=against, listener=view)
        finally:
            view.stop()
        print_search(result, console)
        shown = drawn("report of the search", lambda: write_search(result))
        if shown:
            console.print(f"Report of the search: {search_folder(result)}", highlight=False)
        console.print(f"Trials: {dashboard_command(result.context)}", highlight=False)
        tracked = tracking and read.runtime.tracking
        if result.results.counts:
            shown &= show_results(result.results, tracked)
        if tracked:
            shown &= log_search(result)
        show_index(result.results.store)
        if result.results.stopped == "terminated":
            raise Terminated
        if result.results.stopped:
            ended = sum(trial.state != "running" for trial in result.trials)
            unconfirmed = ", and the best are not confirmed yet" if result.results.missing else ""
            console.print(
                f"Stopped after {read.runtime.max_hours:g} h: {ended} of {read.search.trials} "
                f"trials have ended{unconfirmed}. The same line with --resume goes on."
            )
        exit_if_failed(result.results.failures)
        exit_if_untracked(require_tracking, shown)
