"""Exit codes, and the message that goes with each."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum

import typer
from rich.markup import escape

from segtransfer.cli.console import errors
from segtransfer.errors import InputError
from segtransfer.runtime.interrupts import was_terminated


class ExitCode(IntEnum):
    """Exit code of a command that did not succeed."""

    FAILED = 1
    WRONG_INPUT = 2
    INTERRUPTED = 130
    TERMINATED = 143


@contextmanager
def exit_with_message(origin: str, resume: str = "run again to go on") -> Iterator[None]:
    """Turn errors that a user can cause into one message and an exit code.

    Args:
        origin: Name of the file, store, fleet or job; opens a message that does not name it.
        resume: Clause that says how to resume a stopped command.

    Raises:
        typer.Exit: An InputError, interrupt, OSError or RuntimeError was raised inside.
    """
    try:
        yield
    except InputError as error:
        message = str(error) if origin in str(error) else f"{origin}: {error}"
        errors.print(f"[red]error:[/red] {escape(message)}", highlight=False)
        raise typer.Exit(ExitCode.WRONG_INPUT) from None
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt as stop:
        errors.print(f"\nStopped. What was done is in the store; {resume}.")
        code = ExitCode.TERMINATED if was_terminated(stop) else ExitCode.INTERRUPTED
        raise typer.Exit(code) from None
    except OSError as error:
        errors.print(f"[red]error:[/red] not readable or writable: {escape(str(error))}")
        errors.print(f"What was done before is in the store; {resume}.")
        raise typer.Exit(ExitCode.FAILED) from None
    except RuntimeError as error:
        errors.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        raise typer.Exit(ExitCode.FAILED) from None


def exit_if_failed(failures: Mapping[str, str]) -> None:
    """Print one line per reason why tasks failed.

    Args:
        failures: Traceback by key of the task.

    Raises:
        typer.Exit: There are failures.
    """
    if not failures:
        return
    reasons: dict[str, list[str]] = {}
    for key, message in failures.items():
        reasons.setdefault(message.strip().splitlines()[-1], []).append(key)
    errors.print(f"\n[red]{len(failures)} tasks have no result:[/red]")
    for reason, keys in reasons.items():
        errors.print(f"  {len(keys)} x {escape(reason)} (first: {keys[0][:16]})", highlight=False)
    errors.print("Tracebacks lie in the store under failures/. Run again to try them again.")
    raise typer.Exit(ExitCode.FAILED)
