"""The verb ``segtransfer search``."""

from typing import TYPE_CHECKING, Annotated

import typer

from segtransfer import api
from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_if_failed, exit_with_message
from segtransfer.cli.options import (
    FleetOption,
    RequireTrackingOption,
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

if TYPE_CHECKING:
    from segtransfer.searches import SearchResult
    from segtransfer.searches.spec import Search

RERUN_SEARCH = "Run the same command with --resume to resume the search."

ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Resume an interrupted search with its stored trials. Default: refuse a search whose "
        "trials are stored and incomplete.",
    ),
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        metavar="random",
        help="'random': also run five random searches with other seeds, and compare the best "
        "transfer at no more cost. Default: no comparison.",
    ),
]
SearchArgument = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="YAML file of a search, or the name of the shipped search: quickstart.",
    ),
]
SearchOverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="OVERRIDES",
        help="Changes of the search, applied in order: field.path=value, for example "
        "search.trials=200. Default: no change.",
    ),
]


def search(
    spec: SearchArgument,
    overrides: SearchOverridesArgument = None,
    resume: ResumeOption = False,
    store: StoreOption = None,
    tracking: TrackingOption = True,
    require_tracking: RequireTrackingOption = False,
    fleet: FleetOption = None,
    against: AgainstOption = None,
) -> None:
    """Search the attack settings with the best transfer, and confirm them on new images.

    Trials attack the images of data in the spec. The best settings are compared with baselines at
    the same cost, on the images of confirm.data.

    Example:
        segtransfer search quickstart
        segtransfer search mine.yaml search.trials=200 --resume

    Docs: explanation/tune, how-to/search-on-postgresql

    Raises:
        typer.Exit: With the codes of the verb ``run``, and with 1 if no trial completed.
    """
    from segtransfer.reporting.search import print_search, search_folder, write_search
    from segtransfer.reporting.search_progress import SearchView
    from segtransfer.searches.optuna_study import dashboard_command
    from segtransfer.searches.spec import read_search

    with exit_with_message(spec, RERUN_SEARCH), terminable():
        read = read_search(spec, with_options(overrides, store=store, fleet=fleet))
        view = SearchView(console)
        try:
            result = api.search(read, resume=resume, against=against, listener=view)
        finally:
            view.stop()
        print_search(result, console)
        shown = drawn("search report", lambda: write_search(result))
        if shown:
            console.print(f"Search report: {search_folder(result)}", highlight=False)
        console.print(f"Trials: {dashboard_command(result.context)}", highlight=False)
        tracked = tracking and read.runtime.tracking
        if result.results.counts:
            shown &= show_results(result.results, tracked)
        if tracked:
            shown &= log_search(result)
        show_index(result.results.store)
        _print_end(result, read)
        exit_if_failed(result.results.failures)
        exit_if_untracked(require_tracking, shown)


def _print_end(result: "SearchResult", read: "Search") -> None:
    """Print the number of ended trials of a stopped search.

    Raises:
        Terminated: SIGTERM stopped the search.
    """
    if result.results.stopped == "terminated":
        raise Terminated
    if result.results.stopped:
        ended = sum(trial.state != "running" for trial in result.trials)
        unconfirmed = ", the best are not confirmed yet" if result.results.missing else ""
        console.print(
            f"Stopped after {read.runtime.max_hours:g} h: {ended} of {read.search.trials} trials "
            f"have ended{unconfirmed}. {RERUN_SEARCH}"
        )
