"""The command: verbs only."""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from segtransfer.errors import InputError
from segtransfer.runtime.interrupts import Terminated, terminable, was_terminated

if TYPE_CHECKING:
    from segtransfer.comparison import Comparison
    from segtransfer.experiment.spec import Experiment
    from segtransfer.results import Results
    from segtransfer.searches import SearchResult

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure how adversarial examples transfer between segmentation models.",
)
console = Console(soft_wrap=not sys.stdout.isatty())
errors = Console(stderr=True, soft_wrap=True)

Spec = Annotated[str, typer.Argument(help="A YAML file, or a recipe: quickstart.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="field.path=value, for example attacks.0.eps=8/255")
]
Executor = Annotated[
    Literal["inline", "ray"] | None, typer.Option(help="inline: one process; ray: actors.")
]
StoreOption = Annotated[str | None, typer.Option(help="Folder or URL of the store.")]

INPUT, FAILED, INTERRUPTED, TERMINATED = 2, 1, 130, 143

fleet_app = typer.Typer(
    no_args_is_help=True,
    help="Keep a driver and its workers up, for several runs and searches to share.",
)
app.add_typer(fleet_app, name="fleet")
FleetName = Annotated[str, typer.Argument(help="The fleet's name.")]

store_app = typer.Typer(no_args_is_help=True, help="Keep a store healthy.")
app.add_typer(store_app, name="store")
Location = Annotated[str, typer.Argument(help="Folder or URL of a store.")]
Chosen = Annotated[
    str | None, typer.Option(help="An experiment's name, or the beginning of its identity.")
]

job_app = typer.Typer(no_args_is_help=True, help="Jobs that 'submit' sent to a Ray cluster.")
app.add_typer(job_app, name="job")
Job = Annotated[str, typer.Argument(help="The job's id, as 'submit' printed it.")]
Address = Annotated[
    str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="URL of the cluster's dashboard.")
]
HEAD = "http://127.0.0.1:8265"


@app.command()
def run(
    spec: Spec,
    overrides: Overrides = None,
    executor: Executor = None,
    store: StoreOption = None,
    tracking: Annotated[bool, typer.Option(help="Log to MLflow.")] = True,
    fleet: Annotated[str | None, typer.Option(help="A fleet that 'fleet up' keeps.")] = None,
    max_hours: Annotated[float | None, typer.Option(help="Stop then, with what there is.")] = None,
) -> None:
    """Carry out an experiment, print its matrices, draw its report, log it to MLflow."""
    from segtransfer.reporting.progress import ProgressView
    from segtransfer.reporting.terminal import print_results
    from segtransfer.runtime.runner import carry_out

    with _sentences(spec), terminable():
        experiment = _experiment(spec, overrides, executor, store, fleet, max_hours)
        progress = ProgressView(console)
        try:
            results = carry_out(experiment, progress)
        finally:
            progress.stop()
        print_results(results, console)
        if results.computed:
            console.print(
                f"\nComputed {results.computed} tasks in {progress.wall_seconds:.0f} s after "
                f"start-up ({progress.model_seconds:.0f} s of it inside models, all actors summed)."
            )
        _show(results, tracking and experiment.runtime.tracking)
        if results.stopped == "terminated":
            raise Terminated
        if results.stopped:
            console.print(
                f"Stopped after {experiment.runtime.max_hours:g} h: {len(results.missing)} tasks "
                "have no result yet, and their matrices are partial. Run again to go on."
            )
        _list_failures(results.failures)


@app.command()
def search(
    spec: Annotated[str, typer.Argument(help="A YAML file, or a search that ships: quickstart.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="field.path=value, for example search.trials=200")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a search that was begun.")
    ] = False,
    store: StoreOption = None,
    tracking: Annotated[bool, typer.Option(help="Log to MLflow.")] = True,
    fleet: Annotated[str | None, typer.Option(help="A fleet that 'fleet up' keeps.")] = None,
) -> None:
    """Search the attack settings that transfer best, and confirm them on what is new."""
    from segtransfer.reporting.search import print_search, search_folder, write_search
    from segtransfer.reporting.search_progress import SearchView
    from segtransfer.searches import find
    from segtransfer.searches.optuna_study import how_to_look
    from segtransfer.searches.spec import read_search

    with _sentences(spec, "the same line with --resume goes on"), terminable():
        read = read_search(spec, _with_options(overrides, store=store, fleet=fleet))
        view = SearchView(console)
        try:
            found = find(read, view, resume=resume)
        finally:
            view.stop()
        print_search(found, console)
        write_search(found)
        console.print(f"Report of the search: {search_folder(found)}", highlight=False)
        console.print(f"Trials: {how_to_look(found.bench)}", highlight=False)
        tracked = tracking and read.runtime.tracking
        if found.results.confusions:
            _show(found.results, tracked)
        _log_search(found, tracked)
        if found.results.stopped == "terminated":
            raise Terminated
        if found.results.stopped:
            ended = sum(trial.state != "running" for trial in found.trials)
            unconfirmed = ", and the best are not confirmed yet" if found.results.missing else ""
            console.print(
                f"Stopped after {read.runtime.max_hours:g} h: {ended} of {read.search.trials} "
                f"trials have ended{unconfirmed}. The same line with --resume goes on."
            )
        _list_failures(found.results.failures)


@app.command()
def study(
    name: Annotated[
        str,
        typer.Argument(
            help="overfitting, scales, twins, heads, object-size, ablation or eps.",
        ),
    ],
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BASE] [OVERRIDES]...",
            help="A YAML file of an experiment, or one that ships: zoo (if left out), camvid; "
            "then field.path=value.",
        ),
    ] = None,
    executor: Executor = None,
    store: StoreOption = None,
    tracking: Annotated[bool, typer.Option(help="Log to MLflow.")] = True,
) -> None:
    """Answer a question about transfer between any models: a figure, and a paragraph of numbers."""
    from segtransfer.reporting.progress import ProgressView
    from segtransfer.reporting.studies import write_study
    from segtransfer.runtime.runner import carry_out
    from segtransfer.studies import find_study, look, read_base, split_base

    source, overrides = split_base(given or [])
    with _sentences(""):
        chosen = find_study(name)
        base = read_base(source, _with_options(overrides, executor=executor, store=store))
        progress = ProgressView(console)
        try:
            results = carry_out(chosen.experiment(base), progress)
        finally:
            progress.stop()
        _list_failures(results.failures)
        if results.missing:
            errors.print(f"{len(results.missing)} tasks have no result yet. Run again to go on.")
            raise typer.Exit(FAILED)
        found = look(chosen, base, results)
        folder = write_study(found)
        console.print(f"\n[bold]{escape(chosen.question)}[/bold]\n")
        console.print(found.paragraph, highlight=False, markup=False)
        console.print(f"\nFigure: {folder / 'study.png'}", highlight=False)
        if tracking and base.runtime.tracking:
            _show(results, True)


@app.command()
def plan(
    spec: Spec,
    overrides: Overrides = None,
    executor: Executor = None,
    store: StoreOption = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure every model first, on a few images.")
    ] = False,
    slots: Annotated[str, typer.Option(help="Fleets to simulate.")] = "1,8,64,512,1024",
    seconds_per_forward: Annotated[
        float | None, typer.Option(min=0, help="An image, of every model.")
    ] = None,
    startup_seconds: Annotated[float | None, typer.Option(min=0, help="A worker.")] = None,
    switch_seconds: Annotated[float | None, typer.Option(min=0, help="Loading a model.")] = None,
) -> None:
    """Print what is stored, what the rest takes on fleets of any size, and what it can show."""
    from segtransfer.experiment.plan import make_plan
    from segtransfer.forecast import calibration
    from segtransfer.forecast.forecast import forecast, read_counts
    from segtransfer.reporting.plan import print_plan
    from segtransfer.store import Store

    with _sentences(spec):
        counts = read_counts(slots)
        experiment = _experiment(spec, overrides, executor, store)
        where = Store(experiment.runtime.store)
        made = make_plan(experiment, where)
        if calibrate:
            with console.status("") as status:
                calibration.calibrate(made, where, lambda name: status.update(f"measuring {name}"))
        given = calibration.Given(seconds_per_forward, startup_seconds, switch_seconds)
        rates = calibration.read_rates(made, where, given)
        print_plan(made, console, forecast(made, where, rates, counts))


@app.command()
def report(
    store: Location,
    experiment: Chosen = None,
    log: Annotated[bool, typer.Option(help="Bring MLflow up to date with the store.")] = False,
) -> None:
    """Print and redraw the experiments of a store, and log them; nothing is computed."""
    from segtransfer.reporting.folder import write_report
    from segtransfer.reporting.terminal import print_results
    from segtransfer.results import results_of
    from segtransfer.results.lookup import experiments_of
    from segtransfer.store.maintenance import open_existing

    with _sentences(store):
        opened, logged = open_existing(store), True
        for identity, content in experiments_of(opened, experiment).items():
            results = results_of(opened, identity, content)
            console.rule(results.name)
            print_results(results, console)
            write_report(results)
            logged &= _show(results, log)
        if not logged:
            raise typer.Exit(FAILED)


@app.command()
def export(
    store: Location,
    out: Annotated[str, typer.Argument(help="A folder that is new or empty.")],
    kind: Annotated[
        Literal["parquet", "csv", "png", "hf"],
        typer.Option("--format", help="Tables, image files, or a data set of Hugging Face."),
    ] = "parquet",
    experiment: Chosen = None,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="png, hf: the predictions of every target too.")
    ] = False,
) -> None:
    """Write an experiment for others to read: tables, PNG files, a data set of Hugging Face."""
    from segtransfer.export import export
    from segtransfer.reporting.export import ExportView, print_export

    with _sentences(store), ExportView(console) as view:
        exported = export(store, out, kind, experiment, predictions=predictions, advance=view)
    print_export(exported, console)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="What is subtracted: RUN, ATTACK or RUN:ATTACK.")],
    b: Annotated[str, typer.Argument(help="What it is subtracted from, named alike.")],
    store: Annotated[str, typer.Option(help="Where names are looked up.")] = "segtransfer-store",
    allow: Annotated[
        str, typer.Option(help="Compare all the same: images,targets,eps,numerics.")
    ] = "",
    metric: Annotated[
        str, typer.Option(help="miou, aacc, macc, wrong, fooling, drop or ratio.")
    ] = "miou",
    tracking: Annotated[bool, typer.Option(help="Log to MLflow.")] = True,
) -> None:
    """Subtract attack A from attack B, or run A from run B, with intervals and a verdict.

    A RUN is a store's folder or URL (#NAME picks an experiment of it), an experiment's name or the
    beginning of its identity, or an MLflow run's id. An ATTACK alone is one of the newest run.
    """
    from segtransfer.api import compare as compare_references
    from segtransfer.reporting.comparison import (
        comparison_folder,
        print_comparison,
        write_comparison,
    )

    with _sentences(""):
        allowed = [name.strip() for name in allow.split(",") if name.strip()]
        comparison = compare_references(a, b, store=store, allow=allowed, metric=metric)
        print_comparison(comparison, console)
        write_comparison(comparison)
        console.print(f"\nReport: {comparison_folder(comparison)}", highlight=False)
        if tracking:
            _log_comparison(comparison)


@app.command()
def models() -> None:
    """List the models that ship."""
    from segtransfer.reporting.terminal import print_models

    print_models(console)


@app.command()
def attacks() -> None:
    """List the attack presets with their formulas."""
    from segtransfer.reporting.terminal import print_attacks

    print_attacks(console)


@app.command()
def doctor() -> None:
    """Check versions, device, Ray, MLflow, the shipped weights, and that `tasks` is ours."""
    from segtransfer.reporting.doctor import print_health

    if not print_health(console):
        raise typer.Exit(FAILED)


@store_app.command("verify")
def store_verify(location: Location) -> None:
    """Read everything and check it; name what is damaged, orphaned, foreign or cut off."""
    from segtransfer.reporting.maintenance import print_verification
    from segtransfer.store.maintenance import open_existing, verify

    with _sentences(location):
        store = open_existing(location)
        report = verify(store)
        print_verification(report, store, console)
        if not report.sound:
            raise typer.Exit(FAILED)


@store_app.command("merge")
def store_merge(
    location: Location,
    others: Annotated[list[str], typer.Argument(help="Stores to copy from, left as they are.")],
) -> None:
    """Copy into the first store what the others have and it lacks."""
    from segtransfer.reporting.maintenance import print_merge
    from segtransfer.store import Store
    from segtransfer.store.maintenance import merge, open_existing

    with _sentences(location):
        for other in [open_existing(other) for other in others]:
            print_merge(merge(Store(location), other), other, console)


@store_app.command("compact")
def store_compact(location: Location) -> None:
    """Put commit rows into few files, so that planning reads few; nothing is lost by it."""
    from segtransfer.reporting.maintenance import print_compaction
    from segtransfer.store.maintenance import compact, open_existing

    with _sentences(location):
        print_compaction(compact(open_existing(location)), console)


@store_app.command("gc")
def store_gc(
    location: Location,
    experiments: Annotated[
        list[str] | None,
        typer.Option(help="Let this experiment go too (the beginning of its identity)."),
    ] = None,
    unreferenced: Annotated[
        bool, typer.Option(help="Let rows and shards go that no experiment left names.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
) -> None:
    """List what nothing needs any more, ask, and remove it; nothing younger than an hour."""
    from segtransfer.reporting.maintenance import print_freed, print_garbage
    from segtransfer.store.maintenance import find_garbage, open_existing, remove_garbage

    with _sentences(location):
        store = open_existing(location)
        report = find_garbage(store, experiments=experiments or (), unreferenced=unreferenced)
        print_garbage(report, console)
        if not report.garbage:
            return
        if not yes and not _may_ask():
            raise InputError("nothing was removed: there is no terminal to ask on; give --yes")
        if yes or typer.confirm("Remove all of this?"):
            print_freed(remove_garbage(store, report.garbage), console)


def _may_ask() -> bool:
    return sys.stdin.isatty()


@fleet_app.command("up")
def fleet_up(
    name: FleetName,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="field=value of runtime: fleet.slots=8, window=2")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Start a fleet on the Ray cluster that is up, and leave it there."""
    from segtransfer.experiment.spec import read_runtime
    from segtransfer.runtime.ray_driver import start_fleet

    with _sentences(name):
        extra = [] if store is None else [f"store={store}"]
        runtime = read_runtime([*(overrides or []), *extra])
        start_fleet(name, runtime)
        console.print(f"Fleet '{name}' is up. Store: {runtime.store}", highlight=False)
        console.print(f"Use it: segtransfer run SPEC --fleet {name} --store {runtime.store}")


@fleet_app.command("status")
def fleet_status(name: FleetName) -> None:
    """Print what a fleet hosts and does."""
    from segtransfer.reporting.fleet import print_fleet
    from segtransfer.runtime.ray_driver import fleet_news

    with _sentences(name):
        print_fleet(fleet_news(name), console)


@fleet_app.command("down")
def fleet_down(name: FleetName) -> None:
    """End a fleet; calls under way are lost, what was done is in the store."""
    from segtransfer.runtime.ray_driver import end_fleet

    with _sentences(name):
        end_fleet(name)
        console.print(f"Fleet '{name}' is down.")


@app.command()
def submit(
    spec: Spec,
    overrides: Overrides = None,
    address: Address = HEAD,
    store: StoreOption = None,
    search: Annotated[bool, typer.Option("--search", help="The spec is a search.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a search that was begun.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not follow the job.")] = False,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Hand the job this variable of the environment."),
    ] = None,
    working_dir: Annotated[
        str | None, typer.Option(help="Send this folder, for what the spec names beside it.")
    ] = None,
    package: Annotated[
        str | None, typer.Option(help="Send this wheel, or source tree, of segtransfer.")
    ] = None,
) -> None:
    """Run a spec as a job of a Ray cluster, and follow it; it outlives this terminal."""
    from segtransfer.jobs.bundle import JobRequest, pack
    from segtransfer.jobs.client import connect
    from segtransfer.jobs.client import submit as send

    with _sentences(spec):
        order = JobRequest(spec, tuple(overrides or ()), store, search, resume)
        with pack(order, working_dir, package, env or ()) as parcel:
            job = send(connect(address), parcel)
        console.print(f"Job {job} is submitted.\n{_how_to(job, address)}", highlight=False)
        if not detach:
            _follow(job, address)


@job_app.command("status")
def job_status(job: Job, address: Address = HEAD) -> None:
    """Print how a job stands."""
    from segtransfer.jobs.client import connect, look
    from segtransfer.reporting.jobs import print_job

    with _sentences(job):
        print_job(look(connect(address), job), console)


@job_app.command("follow")
def job_follow(job: Job, address: Address = HEAD) -> None:
    """Print a job's log until it ends, and leave with its exit code."""
    with _sentences(job):
        _follow(job, address)


@job_app.command("stop")
def job_stop(job: Job, address: Address = HEAD) -> None:
    """Stop a job, and wait until it has logged what it did."""
    from segtransfer.jobs.client import connect, stop
    from segtransfer.reporting.jobs import print_job

    with _sentences(job):
        print_job(stop(connect(address), job), console)


def main() -> None:
    """Entry point of the installed command."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # Models and losses of one's own lie in the working folder; Ray hands the path to its workers.
    sys.path.append(os.getcwd())
    app()


def _experiment(
    spec: str,
    overrides: list[str] | None,
    executor: str | None,
    store: str | None,
    fleet: str | None = None,
    max_hours: float | None = None,
) -> "Experiment":
    from segtransfer.experiment.spec import read_experiment

    return read_experiment(
        spec,
        _with_options(overrides, executor=executor, store=store, fleet=fleet, max_hours=max_hours),
    )


def _with_options(
    overrides: list[str] | None,
    *,
    executor: str | None = None,
    store: str | None = None,
    fleet: str | None = None,
    max_hours: float | None = None,
) -> list[str]:
    """The overrides, and those that options stand for."""
    options = {
        "runtime.executor": executor,
        "runtime.store": store,
        "runtime.fleet.name": fleet,
        "runtime.max_hours": max_hours,
    }
    extra = [
        f"{field}={json.dumps(value)}" for field, value in options.items() if value is not None
    ]
    return [*(overrides or []), *extra]


def _follow(job: str, address: str) -> None:
    """Print a job's log to its end; Ctrl-C leaves the job alone."""
    from segtransfer.jobs.client import connect, exit_code, follow, last_word

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    try:
        details = follow(connect(address), job, write)
    except KeyboardInterrupt:
        errors.print(f"\nDetached: job {job} goes on.\n{_how_to(job, address)}", highlight=False)
        raise typer.Exit(INTERRUPTED) from None
    if word := last_word(details):
        errors.print(f"[red]error:[/red] {escape(word)}", highlight=False)
    if code := exit_code(details):
        raise typer.Exit(code)


def _how_to(job: str, address: str) -> str:
    """The commands that follow a job and stop it."""
    return (
        f"Follow it: segtransfer job follow {job} --address {address}\n"
        f"Stop it: segtransfer job stop {job} --address {address}"
    )


def _show(results: "Results", tracking: bool) -> bool:
    """Draw and log what changed, and say where everything is; False where logging failed."""
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


def _log_comparison(comparison: "Comparison") -> None:
    from segtransfer.tracking import TrackingError, how_to_open
    from segtransfer.tracking.comparisons import log_comparison

    try:
        console.print(f"MLflow: {how_to_open(log_comparison(comparison))}", highlight=False)
    except TrackingError as error:
        errors.print(f"[yellow]{escape(str(error))}[/yellow]")
        errors.print("Log it later with the same command.")


def _log_search(found: "SearchResult", tracking: bool) -> None:
    if not tracking:
        return
    from segtransfer.tracking import TrackingError, how_to_open, runs_address
    from segtransfer.tracking.searches import log_search

    try:
        uri, name = log_search(found), found.bench.search.name
        console.print(f"MLflow: {how_to_open(uri)}", highlight=False)
        console.print(f"        {runs_address(uri, name)}", highlight=False, soft_wrap=True)
    except TrackingError as error:
        errors.print(f"[yellow]{escape(str(error))}[/yellow]")
        errors.print("Log it later with the same command: nothing is computed again.")


def _list_failures(failures: Mapping[str, str]) -> None:
    """Name the tasks that failed, one line each, and leave with a non-zero code."""
    if not failures:
        return
    reasons: dict[str, list[str]] = {}
    for key, message in failures.items():
        reasons.setdefault(message.strip().splitlines()[-1], []).append(key)
    errors.print(f"\n[red]{len(failures)} tasks have no result:[/red]")
    for reason, keys in reasons.items():
        errors.print(f"  {len(keys)} x {escape(reason)} (first: {keys[0][:16]})", highlight=False)
    errors.print("Tracebacks lie in the store under failures/. Run again to try them again.")
    raise typer.Exit(FAILED)


@contextmanager
def _sentences(origin: str, go_on: str = "run again to go on") -> Iterator[None]:
    """Turn what can go wrong for a user into one message, naming its file, and an exit code.

    ``go_on`` says what takes up a command that was stopped.
    """
    try:
        yield
    except InputError as error:
        message = str(error) if origin in str(error) else f"{origin}: {error}"
        errors.print(f"[red]error:[/red] {escape(message)}", highlight=False)
        raise typer.Exit(INPUT) from None
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt as stop:
        errors.print(f"\nStopped. What was done is in the store; {go_on}.")
        code = TERMINATED if was_terminated(stop) else INTERRUPTED
        raise typer.Exit(code) from None
    except OSError as error:
        errors.print(f"[red]error:[/red] not readable or writable: {escape(str(error))}")
        errors.print(f"What was done before is in the store; {go_on}.")
        raise typer.Exit(FAILED) from None
    except RuntimeError as error:
        errors.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        raise typer.Exit(FAILED) from None


if __name__ == "__main__":
    main()
