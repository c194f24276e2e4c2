"""The verbs ``segtransfer store verify``, ``repair``, ``merge``, ``compact`` and ``gc``."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import ExitCode, exit_with_message
from segtransfer.cli.help import help_text, verb
from segtransfer.cli.json_output import JsonOption, print_json
from segtransfer.cli.options import LocationArgument
from segtransfer.errors import InputError

if TYPE_CHECKING:
    from segtransfer.store import Store

YesOption = Annotated[
    bool,
    typer.Option(
        "--yes",
        help="Remove the listed parts without a question. Default: ask on the terminal; with "
        "--json, remove nothing.",
    ),
]

store_app = typer.Typer(
    name="store",
    no_args_is_help=True,
    help=help_text(
        """Verify, repair, merge, compact and clean a store.

        Docs: reference/store
        """
    ),
)


@verb(store_app, "verify")
def store_verify(location: LocationArgument, as_json: JsonOption = False) -> None:
    """Read and check every file of a store; list damaged, unneeded and unknown files.

    No file is changed.

    Example:
        segtransfer store verify segtransfer-store

    Docs: reference/store

    Raises:
        typer.Exit: With code 1 if a file is damaged, and with code 2 if there is no store.
    """
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


@verb(store_app, "repair")
def store_repair(
    location: LocationArgument,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """List damaged results, ask, and remove them; a later run computes them again.

    Example:
        segtransfer store repair segtransfer-store

    Docs: reference/store

    Raises:
        typer.Exit: With code 2 if there is no store, the store is in use, or there is no terminal
            for the question.
    """
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
            console.print(
                f"Removed {removed} damaged parts. Run the experiments again to compute them."
            )


@verb(store_app, "merge")
def store_merge(
    location: LocationArgument,
    others: Annotated[
        list[str],
        typer.Argument(
            metavar="OTHERS", help="Folders or URLs of the stores to copy from; unchanged."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Copy the results of other stores into a store; the other stores stay unchanged.

    Damaged results are left out, and so are results of different adversarial examples for the same
    task.

    Example:
        segtransfer store merge segtransfer-store s3://bucket/lab

    Docs: reference/store

    Raises:
        typer.Exit: With code 2 if a location holds no store or two stores are the same.
    """
    from segtransfer.reporting.maintenance import print_merge
    from segtransfer.store import Store
    from segtransfer.store.maintenance import merge, open_existing

    with exit_with_message(""):
        sources = [open_existing(other) for other in others]
        reports = [merge(Store(location), other) for other in sources]
        if as_json:
            print_json({o.location: report for o, report in zip(sources, reports, strict=True)})
            return
        for other, report in zip(sources, reports, strict=True):
            print_merge(report, other, console)


@verb(store_app, "compact")
def store_compact(location: LocationArgument, as_json: JsonOption = False) -> None:
    """Gather the rows of a store in few files, which plans read faster; all results are kept.

    Example:
        segtransfer store compact segtransfer-store

    Docs: reference/store

    Raises:
        typer.Exit: With code 2 if there is no store.
    """
    from segtransfer.reporting.maintenance import print_compaction
    from segtransfer.store.maintenance import compact, open_existing

    with exit_with_message(location):
        report = compact(open_existing(location))
        if as_json:
            print_json(report)
        else:
            print_compaction(report, console)


DeletedExperimentsOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Also delete this experiment: its name, or at least four first characters of its "
        "identity; repeatable. Default: keep all experiments.",
    ),
]
UnreferencedOption = Annotated[
    bool,
    typer.Option(help="Also delete rows and shards without a remaining experiment."),
]
MarkRunsOption = Annotated[
    bool,
    typer.Option(
        "--mark-runs",
        help="Also tag the MLflow runs of deleted experiments with segtransfer.deleted; the "
        "runs are kept.",
    ),
]


@verb(store_app, "gc")
def store_gc(
    location: LocationArgument,
    experiments: DeletedExperimentsOption = None,
    unreferenced: UnreferencedOption = False,
    mark_runs: MarkRunsOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """List unneeded files of a store, ask, and remove them.

    Unneeded are interrupted writes, unreadable rows, data without a row, and failures of tasks
    with a later result. Files younger than an hour are kept.

    Example:
        segtransfer store gc segtransfer-store
        segtransfer store gc segtransfer-store --experiments monday --unreferenced

    Docs: reference/store

    Raises:
        typer.Exit: With code 2 if there is no store or experiment, the store is in use, or there is
            no terminal for the question.
    """
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
            console.print(
                "MLflow keeps the runs of deleted experiments. To tag the runs: segtransfer store "
                f"gc {store.location} --mark-runs",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )


def _mark_runs(store: "Store", yes: bool) -> None:
    """List the MLflow runs of deleted experiments, ask, and tag them."""
    from segtransfer.tracking.marks import deleted_runs, mark_deleted

    runs = deleted_runs(store)
    if not runs:
        console.print("MLflow has no run of a deleted experiment.")
        return
    console.print(f"MLflow has {len(runs)} runs of deleted experiments:")
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


def _confirmed(yes: bool, question: str = "Remove all of these?") -> bool:
    """Return whether to change the listed parts, and ask the question unless ``yes``.

    Args:
        yes: Whether ``--yes`` was given, so that no question is asked.
        question: The question to ask on the terminal.

    Raises:
        InputError: A question is needed, and standard input is no terminal.
    """
    if not yes and not is_interactive():
        raise InputError(
            "nothing was changed, because there is no terminal for the question; add --yes to "
            "change the store without a question"
        )
    return yes or typer.confirm(question)


def is_interactive() -> bool:
    """Return whether standard input is a terminal, on which a person can answer a question."""
    return sys.stdin.isatty()
