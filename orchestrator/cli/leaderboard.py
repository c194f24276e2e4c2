"""The verbs ``segtransfer leaderboard SPEC`` and ``segtransfer leaderboard verify``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from segtransfer import api
from segtransfer.cli.console import console
from segtransfer.cli.exits import RERUN, ExitCode, exit_if_failed, exit_with_message
from segtransfer.cli.help import help_text, verb
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
from segtransfer.cli.projections import drawn, exit_if_untracked, show_index, show_results
from segtransfer.cli.run import MaxHoursOption, print_end
from segtransfer.runtime.interrupts import terminable

if TYPE_CHECKING:
    from segtransfer.experiment.spec import Experiment
    from segtransfer.results import Results

RUN = "run"


class RunByDefault(TyperGroup):
    """Group with the default verb ``run``: a first argument other than a verb is a spec."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the verb ``run`` before arguments without a verb.

        Args:
            ctx: Context of the group.
            args: Arguments of the command line after ``leaderboard``.

        Returns:
            The arguments for the verb.
        """
        if args and args[0] not in (*self.commands, "--help"):
            args = [RUN, *args]
        return super().parse_args(ctx, args)


leaderboard_app = typer.Typer(
    name="leaderboard",
    cls=RunByDefault,
    no_args_is_help=True,
    help=help_text(
        """Rank the attacks of a threat model at equal cost: segtransfer leaderboard SPEC.

        Docs: how-to/leaderboard
        """
    ),
)

DocumentArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="File leaderboard.json of a leaderboard.")
]
ComparedStoreOption = Annotated[
    str | None,
    typer.Option(
        metavar="STORE",
        help="Folder or URL of the store with the leaderboard's AEs and scores, to compare. "
        "Default: check the document alone.",
    ),
]


@verb(leaderboard_app, RUN)
def leaderboard_run(
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    executor: ExecutorOption = None,
    store: StoreOption = None,
    tracking: TrackingOption = True,
    require_tracking: RequireTrackingOption = False,
    fleet: FleetOption = None,
    max_hours: MaxHoursOption = None,
) -> None:
    """Run the attacks of a spec with a threat model, and rank them on other backbones.

    The word 'run' may be left out. The same command resumes an interrupted run. 'segtransfer plan
    SPEC' forecasts the cost.

    Example:
        segtransfer leaderboard run mine.yaml
        segtransfer leaderboard run leaderboard-1 data.folder=PATH/TO/camvid

    Docs: how-to/leaderboard

    Raises:
        typer.Exit: With code 1 if tasks failed, 2 if the spec has no threat model or is wrong, 130
            after Ctrl-C and 143 after SIGTERM.
    """
    from segtransfer.reporting.progress import ProgressView

    with exit_with_message(spec, RERUN), terminable():
        options = with_options(
            overrides, executor=executor, store=store, fleet=fleet, max_hours=max_hours
        )
        progress = ProgressView(console)
        try:
            progress.stage("Reading the spec", spec)
            experiment = _read_ranked(spec, options)
            results = api.run(experiment, listener=progress)
        finally:
            progress.stop()
        print_end(results, progress, experiment.runtime.max_hours)
        if results.stopped:
            return
        shown = _show_ranks(results, tracking and experiment.runtime.tracking)
        show_index(results.store)
        exit_if_failed(results.failures)
        exit_if_untracked(require_tracking, shown)


def _read_ranked(spec: str, overrides: list[str]) -> "Experiment":
    """Read the spec of a leaderboard; refuse a spec without a threat model."""
    from segtransfer.experiment.reading import read_experiment
    from segtransfer.leaderboard import check_ranked

    experiment = read_experiment(spec, overrides)
    check_ranked(experiment)
    return experiment


def _show_ranks(results: "Results", tracking: bool) -> bool:
    """Print the ranks, write report, page and document, and print the location of each."""
    from segtransfer.leaderboard import leaderboard_of
    from segtransfer.reporting.leaderboard import (
        DOCUMENT,
        LEADERBOARD_PAGE,
        print_leaderboard,
        write_leaderboard,
    )
    from segtransfer.reporting.places import report_folder

    board = leaderboard_of(results)
    print_leaderboard(board, console)
    shown = show_results(results, tracking)
    if drawn("leaderboard", lambda: write_leaderboard(board)):
        folder = report_folder(results)
        console.print(f"Ranks:  {folder / LEADERBOARD_PAGE}", highlight=False)
        console.print(f"        {folder / DOCUMENT}", highlight=False)
    return shown


@verb(leaderboard_app, "verify")
def leaderboard_verify(path: DocumentArgument, store: ComparedStoreOption = None) -> None:
    """Check a leaderboard's document: hashes, keys, bounds, budgets, and ranks from pixel counts.

    With --store, also compare AEs, labels and scores with the store.

    Example:
        segtransfer leaderboard verify leaderboard.json
        segtransfer leaderboard verify leaderboard.json --store segtransfer-store

    Docs: how-to/leaderboard

    Raises:
        typer.Exit: With code 1 if the document contradicts itself or the store, and with code 2 if
            the file is no document of a leaderboard.
    """
    from segtransfer.leaderboard import verify_file
    from segtransfer.reporting.leaderboard import print_verification_of

    with exit_with_message(path):
        answer = verify_file(path, store)
        print_verification_of(answer, path, console)
        if answer.problems:
            raise typer.Exit(ExitCode.FAILED)
