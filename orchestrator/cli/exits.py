"""Exit codes, and the message that goes with each."""

import errno
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import TextIO

import typer
from rich.markup import escape

from segtransfer.cli import tracebacks
from segtransfer.cli.console import OutputError, errors
from segtransfer.errors import InputError, SegtransferError, reason_of
from segtransfer.runtime.interrupts import was_terminated
from segtransfer.tasks.urls import without_credentials

GO_ON = "run again to go on"  # of a command that computes what the store lacks


class ExitCode(IntEnum):
    """Exit code of a command that did not succeed.

    Attributes:
        FAILED: Tasks failed, a store is damaged, a server cannot be reached, or the error was not
            foreseen.
        WRONG_INPUT: A spec, option, file, model or data set is wrong. The message names the cause.
        INTERRUPTED: Ctrl-C. The same command resumes.
        BROKEN_PIPE: The program that read the output has ended.
        TERMINATED: SIGTERM. The run wrote its report first; the same command resumes.
    """

    FAILED = 1
    WRONG_INPUT = 2
    INTERRUPTED = 130  # 128 + SIGINT
    BROKEN_PIPE = 141  # 128 + SIGPIPE
    TERMINATED = 143  # 128 + SIGTERM


@contextmanager
def exit_with_message(origin: str, resume: str = "") -> Iterator[None]:
    """Turn every error into one message and an exit code.

    Args:
        origin: Name of the file, store, fleet or job; opens a message that does not name it.
        resume: Clause that says how to resume a stopped command; empty if it keeps no results.

    Raises:
        typer.Exit: An exception or an interrupt was raised inside.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt as stop:
        say(f"\nStopped. What was done is in the store; {resume}." if resume else "\nStopped.")
        code = ExitCode.TERMINATED if was_terminated(stop) else ExitCode.INTERRUPTED
        raise typer.Exit(code) from None
    except Exception as error:
        raise typer.Exit(describe(error, origin, resume)) from error


def describe(error: Exception, origin: str, resume: str) -> ExitCode:
    """Print an error as a sentence, keep its traceback in a file, and return the exit code.

    The message of an InputError tells all, so its traceback is kept only if the InputError was
    raised ``from`` another exception.

    Args:
        error: The error.
        origin: Name of the file, store, fleet or job; opens an InputError that does not name it.
        resume: Clause that says how to resume the command; empty if it keeps no results.
    """
    if isinstance(error, OutputError):
        return leave_output(error)
    known = isinstance(error, InputError)
    message = message_of(error)
    if isinstance(error, InputError) and origin not in message:
        message = f"{origin}: {message}"
    elif _is_of_a_file(error):
        message = f"not readable or writable: {message}"
    say(f"[red]error:[/red] {escape(without_credentials(message))}")
    code = ExitCode(error.exit_code) if isinstance(error, SegtransferError) else ExitCode.FAILED
    if isinstance(error, OSError) and resume and code is ExitCode.FAILED:
        say(f"What was done before is in the store; {resume}.")
    if not known or error.__cause__ is not None:
        say(escape(where_kept(error)))
    if tracebacks.shown:
        say(escape(tracebacks.text_of(error)))
    return code


def _is_of_a_file(error: Exception) -> bool:
    """Return whether an error is of a file or a store, not of a socket or a process."""
    ours = isinstance(error, SegtransferError)
    return isinstance(error, OSError) and (ours or error.filename is not None)


def message_of(error: Exception) -> str:
    """Return an error's message; the class opens the message of an unforeseen error.

    A message that is a traceback of another process is reduced to its last line.
    """
    message = str(error).strip()
    if message.startswith("Traceback ("):
        message = reason_of(message)
    if isinstance(error, SegtransferError | OSError | RuntimeError) and message:
        return message
    return f"unforeseen {type(error).__name__}{': ' if message else ''}{message}"


def where_kept(error: Exception) -> str:
    """Keep the traceback of an error in a file and return a sentence that names the file."""
    path = tracebacks.keep(error)
    return f"The error in full: {path}" if path else "The option --debug prints the error in full."


def say(message: str) -> None:
    """Print to standard error, which may be closed or full: then there is no way to tell."""
    try:
        errors.print(message, highlight=False)
    except OSError:
        _discard(sys.stderr)


def leave_output(error: OSError) -> ExitCode:
    """Give up standard output after its error, and return the exit code.

    Like other commands, one whose output goes to a pipe that was closed says nothing.
    """
    _discard(sys.stdout)
    if error.errno == errno.EPIPE:
        return ExitCode.BROKEN_PIPE
    say(f"[red]error:[/red] standard output cannot be written: {escape(error.strerror or '')}")
    return ExitCode.FAILED


def _discard(stream: TextIO) -> None:
    """Send the rest of a stream nowhere, so that its flush at the interpreter's exit succeeds."""
    with suppress(OSError, ValueError):  # a stream of a test has no descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


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
        reasons.setdefault(reason_of(message), []).append(key)
    errors.print(f"\n[red]{len(failures)} tasks have no result:[/red]")
    for reason, keys in reasons.items():
        errors.print(f"  {len(keys)} x {escape(reason)} (first: {keys[0][:16]})", highlight=False)
    errors.print(
        "Their tracebacks are in the store, under failures/. Run again to retry the tasks."
    )
    raise typer.Exit(ExitCode.FAILED)
