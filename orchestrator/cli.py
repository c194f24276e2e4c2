"""The command: verbs only."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from tasks.errors import InputError

if TYPE_CHECKING:
    from orchestrator.results import Results
    from orchestrator.spec import Experiment

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

INPUT, FAILED, INTERRUPTED = 2, 1, 130


@app.command()
def run(
    spec: Spec,
    overrides: Overrides = None,
    executor: Executor = None,
    store: StoreOption = None,
    tracking: Annotated[bool, typer.Option(help="Log to MLflow.")] = True,
) -> None:
    """Carry out an experiment, print its matrices, draw its report, log it to MLflow."""
    from orchestrator.experiment import carry_out
    from orchestrator.report.progress import ProgressView
    from orchestrator.report.terminal import print_results

    with _sentences(spec):
        experiment = _experiment(spec, overrides, executor, store)
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
        _list_failures(results.failures)


@app.command()
def plan(
    spec: Spec, overrides: Overrides = None, executor: Executor = None, store: StoreOption = None
) -> None:
    """Print an experiment's tasks, what the store already has, and the cost; compute nothing."""
    from orchestrator.plan import make_plan
    from orchestrator.report.planned import print_plan
    from orchestrator.store import Store

    with _sentences(spec):
        experiment = _experiment(spec, overrides, executor, store)
        print_plan(make_plan(experiment, Store(experiment.runtime.store)), console)


@app.command()
def report(
    store: Annotated[str, typer.Argument(help="Folder or URL of a store.")],
    tracking: Annotated[bool, typer.Option(help="Log to MLflow.")] = True,
) -> None:
    """Redraw and log again every experiment of a store; nothing is computed."""
    from orchestrator import open_results
    from orchestrator.report.folder import write_report
    from orchestrator.report.terminal import print_results

    with _sentences(store):
        found = open_results(store)
        if not found:
            raise InputError(f"store {store} holds no experiment; give the folder of a store")
        for results in found:
            console.rule(results.name)
            print_results(results, console)
            write_report(results)
            _show(results, tracking)


@app.command()
def models() -> None:
    """List the models that ship."""
    from orchestrator.report.terminal import print_models

    print_models(console)


@app.command()
def attacks() -> None:
    """List the attack presets with their formulas."""
    from orchestrator.report.terminal import print_attacks

    print_attacks(console)


@app.command()
def doctor() -> None:
    """Check versions, device, Ray, MLflow, the shipped weights, and that `tasks` is ours."""
    from orchestrator.report.doctor import print_health

    if not print_health(console):
        raise typer.Exit(FAILED)


def main() -> None:
    """Entry point of the installed command."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # Models and losses of one's own lie in the working folder; Ray hands the path to its workers.
    sys.path.append(os.getcwd())
    app()


def _experiment(
    spec: str, overrides: list[str] | None, executor: str | None, store: str | None
) -> "Experiment":
    from orchestrator.spec import read_experiment

    options = {"runtime.executor": executor, "runtime.store": store}
    extra = [f"{field}={value}" for field, value in options.items() if value is not None]
    return read_experiment(spec, [*(overrides or []), *extra])


def _show(results: "Results", tracking: bool) -> None:
    """Draw and log what changed, and say where everything is."""
    from orchestrator.report.folder import is_current, report_folder, write_report

    if not is_current(results):
        write_report(results)
    console.print(f"\nStore:  {results.store.location}", highlight=False)
    console.print(f"Report: {report_folder(results)}", highlight=False)
    if not tracking:
        return
    from orchestrator.tracking import TrackingError, how_to_open, log_results

    try:
        uri = log_results(results)
        console.print(f"MLflow: {how_to_open(uri)}", highlight=False)
    except TrackingError as error:
        errors.print(f"[yellow]{escape(str(error))}[/yellow]")
        errors.print(f"Log it later with: segtransfer report {results.store.location}")


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
def _sentences(origin: str) -> Iterator[None]:
    """Turn what can go wrong for a user into one message, naming its file, and an exit code."""
    try:
        yield
    except InputError as error:
        message = str(error) if origin in str(error) else f"{origin}: {error}"
        errors.print(f"[red]error:[/red] {escape(message)}", highlight=False)
        raise typer.Exit(INPUT) from None
    except KeyboardInterrupt:
        errors.print("\nStopped. What was done is in the store; run again to go on.")
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:
        errors.print(f"[red]error:[/red] not readable or writable: {escape(str(error))}")
        errors.print("What was done before is in the store; run again to go on.")
        raise typer.Exit(FAILED) from None
    except RuntimeError as error:
        errors.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        raise typer.Exit(FAILED) from None


if __name__ == "__main__":
    main()
