"""``segtransfer store``: verify, repair, merge, compact, gc."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import ExitCode, exit_with_message
from segtransfer.cli.json_output import JsonOption, print_json
from segtransfer.cli.options import LocationArgument
from segtransfer.errors import InputError

if TYPE_CHECKING:
    from segtransfer.store import Store

YesOption = Annotated[bool, typer.Option("--yes", help="Remove without asking. --json never asks.")]

store_app = typer.Typer(no_args_is_help=True, help="Keep a store healthy.")


@store_app.command("verify")
def store_verify(location: LocationArgument, as_json: JsonOption = False) -> None:
    """Read everything and check it; name what is damaged, orphaned, foreign or cut off."""
    from segtransfer.reporting.maintenance import print_verification
    from segtransfer.store.maintenance import open_existing, verify

    with exit_with_message(location):
        store = open_existing(location)
        report = verify(store)
        if as_json:
            print_json(report)
        else:
            print_verification(report, store, console)
        if not report.sound:
            raise typer.Exit(ExitCode.FAILED)


@store_app.command("repair")
def store_repair(
    location: LocationArgument,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """List all damaged results, ask, and remove them, so that a run computes them again."""
    from segtransfer.reporting.maintenance import print_damage
    from segtransfer.store.maintenance import find_damage, open_existing, remove_damage

    with exit_with_message(location):
        store = open_existing(location)
        damages = find_damage(store)
        if as_json:
            removed = remove_damage(store, damages) if yes else 0
            print_json({"damages": damages, "removed": removed})
            return
        print_damage(damages, console)
        if damages and _confirmed(yes):
            removed = remove_damage(store, damages)
            console.print(f"Removed {removed}. Run the experiments again to compute them.")


@store_app.command("merge")
def store_merge(
    location: LocationArgument,
    others: Annotated[list[str], typer.Argument(help="Stores to copy from, left as they are.")],
    as_json: JsonOption = False,
) -> None:
    """Copy into the first store what the others have and it lacks."""
    from segtransfer.reporting.maintenance import print_merge
    from segtransfer.store import Store
    from segtransfer.store.maintenance import merge, open_existing

    with exit_with_message(location):
        sources = [open_existing(other) for other in others]
        reports = [merge(Store(location), other) for other in sources]
        if as_json:
            print_json({o.location: report for o, report in zip(sources, reports, strict=True)})
            return
        for other, report in zip(sources, reports, strict=True):
            print_merge(report, other, console)


@store_app.command("compact")
def store_compact(location: LocationArgument, as_json: JsonOption = False) -> None:
    """Put commit rows into few files, so that planning reads few; nothing is lost by it."""
    from segtransfer.reporting.maintenance import print_compaction
    from segtransfer.store.maintenance import compact, open_existing

    with exit_with_message(location):
        report = compact(open_existing(location))
        if as_json:
            print_json(report)
        else:
            print_compaction(report, console)


@store_app.command("gc")
def store_gc(
    location: LocationArgument,
    experiments: Annotated[
        list[str] | None,
        typer.Option(help="Also delete this experiment (name or identity's prefix); repeatable."),
    ] = None,
    unreferenced: Annotated[
        bool, typer.Option(help="Also delete rows and shards that no remaining experiment names.")
    ] = False,
    mark_runs: Annotated[
        bool,
        typer.Option(
            "--mark-runs", help="Also tag the MLflow runs of deleted experiments; none is deleted."
        ),
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """List what nothing needs any more, ask, and remove it; nothing younger than an hour."""
    from segtransfer.reporting.maintenance import print_freed, print_garbage
    from segtransfer.results.lookup import experiment_of
    from segtransfer.store.maintenance import find_garbage, open_existing, remove_garbage

    with exit_with_message(location):
        store = open_existing(location)
        dropped = [experiment_of(store, wanted)[0] for wanted in experiments or ()]
        report = find_garbage(store, experiments=dropped, unreferenced=unreferenced)
        if as_json:
            freed = remove_garbage(store, report.garbage) if yes else 0
            content = {"garbage": report.garbage, "notes": report.notes, "freed_bytes": freed}
            print_json(content | ({"runs": _marked(store, yes)} if mark_runs else {}))
            return
        print_garbage(report, console)
        if report.garbage and _confirmed(yes):
            print_freed(remove_garbage(store, report.garbage), console)
        if mark_runs:
            _mark_runs(store, yes)
        elif dropped:
            console.print("Their runs in MLflow stay. To tag them as deleted: gc --mark-runs")


def _mark_runs(store: "Store", yes: bool) -> None:
    """List the MLflow runs of deleted experiments, ask, and tag them."""
    from segtransfer.tracking.marks import deleted_runs, mark_deleted

    runs = deleted_runs(store)
    if not runs:
        console.print("MLflow has no run of a deleted experiment.")
        return
    console.print(f"{len(runs)} runs in MLflow are of experiments that the store no longer holds:")
    for run in runs:
        console.print(f"  {run.info.run_name}", highlight=False, markup=False)
    if _confirmed(yes, "Tag these runs as deleted?"):
        mark_deleted(runs)
        console.print(f"Tagged {len(runs)} runs with segtransfer.deleted.")


def _marked(store: "Store", yes: bool) -> list[str]:
    """Return the ids of the MLflow runs of deleted experiments, tagged if ``yes``."""
    from segtransfer.tracking.marks import deleted_runs, mark_deleted

    runs = deleted_runs(store)
    if yes:
        mark_deleted(runs)
    return [run.info.run_id for run in runs]


def _confirmed(yes: bool, question: str = "Remove all of this?") -> bool:
    """Return whether to change what was listed.

    Args:
        yes: The answer given in advance; without it a person is asked.
        question: The question.

    Raises:
        InputError: If there is nobody to ask.
    """
    if not yes and not is_interactive():
        raise InputError("nothing was changed: there is no terminal to ask on; give --yes")
    return yes or typer.confirm(question)


def is_interactive() -> bool:
    """Return whether a person can answer a question on the terminal."""
    return sys.stdin.isatty()
