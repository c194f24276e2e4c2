"""Exit codes of the command, and the messages of errors."""

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

RERUN = "Run the same command again to resume."  # of commands that keep results in a store


class ExitCode(IntEnum):
    """Exit code of a command that did not succeed.

    Attributes:
        FAILED: Tasks failed, a store is damaged, a server cannot be reached, or the error was
            unexpected.
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
    """Turn an exception or interrupt of the body into a message on standard error and an exit code.

    Args:
        origin: Name of the file, store, fleet or job, put before a message without the name.
        resume: Sentence on how to resume a stopped command; empty for a command that keeps no
            results in a store.

    Raises:
        typer.Exit: The body raised: with the code of a SegtransferError, 130 after Ctrl-C, 143
            after SIGTERM, 141 if standard output is a closed pipe, else 1.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt as stop:
        say(f"\nStopped. Finished results are in the store. {resume}" if resume else "\nStopped.")
        code = ExitCode.TERMINATED if was_terminated(stop) else ExitCode.INTERRUPTED
        raise typer.Exit(code) from None
    except Exception as error:
        raise typer.Exit(describe(error, origin, resume)) from error


def describe(error: Exception, origin: str, resume: str) -> ExitCode:
    """Print an error as a sentence, write its traceback to a file, and return the exit code.

    The message of an InputError is complete. Its traceback is written only if the InputError was
    raised ``from`` another exception.

    Args:
        error: The error.
        origin: Name of the file, store, fleet or job, put before the message of an InputError
            unless the message has the name or opens with an option.
        resume: Sentence on how to resume the command, printed after an OSError; empty for a
            command that keeps no results in a store.

    Returns:
        The ``exit_code`` of a SegtransferError, else FAILED; of an OutputError the code of
        ``leave_output``.
    """
    if isinstance(error, OutputError):
        return leave_output(error)
    known = isinstance(error, InputError)
    message = message_of(error)
    if isinstance(error, InputError) and origin not in message and not message.startswith("--"):
        message = f"{origin}: {message}"
    elif _is_of_a_file(error):
        message = f"cannot read or write: {message}"
    say(f"[red]error:[/red] {escape(without_credentials(message))}")
    code = ExitCode(error.exit_code) if isinstance(error, SegtransferError) else ExitCode.FAILED
    if isinstance(error, OSError) and resume and code is ExitCode.FAILED:
        say(f"Finished results are in the store. {resume}")
    if not known or error.__cause__ is not None:
        say(escape(keep_traceback(error)))
    if tracebacks.shown:
        say(escape(tracebacks.text_of(error)))
    return code


def _is_of_a_file(error: Exception) -> bool:
    """Return whether an OSError concerns a file or a store rather than a socket or process."""
    ours = isinstance(error, SegtransferError)
    return isinstance(error, OSError) and (ours or error.filename is not None)


def message_of(error: Exception) -> str:
    """Return the message of an error for a person.

    Returns:
        The error's text for a SegtransferError, OSError or RuntimeError with a text; otherwise
        "unexpected", the class and the text. The traceback of another process is reduced to its
        last line.
    """
    message = str(error).strip()
    if message.startswith("Traceback ("):
        message = reason_of(message)
    if isinstance(error, SegtransferError | OSError | RuntimeError) and message:
        return message
    return f"unexpected {type(error).__name__}{': ' if message else ''}{message}"


def keep_traceback(error: Exception) -> str:
    """Write the traceback of an error to a file.

    Returns:
        A sentence with the path of the file, or with the option --debug if no file can be written.
    """
    path = tracebacks.keep(error)
    return f"Full error: {path}" if path else "Add --debug to print the traceback."


def say(message: str) -> None:
    """Print to standard error; if standard error is closed or full, discard the message."""
    try:
        errors.print(message, highlight=False)
    except OSError:
        _discard(sys.stderr)


def leave_output(error: OSError) -> ExitCode:
    """Discard further standard output after an error of standard output.

    Args:
        error: The error of standard output.

    Returns:
        BROKEN_PIPE for a closed pipe, without a message, as other commands do; else FAILED, after
        a message.
    """
    _discard(sys.stdout)
    if error.errno == errno.EPIPE:
        return ExitCode.BROKEN_PIPE
    say(f"[red]error:[/red] cannot write to standard output: {escape(error.strerror or '')}")
    return ExitCode.FAILED


def _discard(stream: TextIO) -> None:
    """Send a stream to the null device, so that the flush at the interpreter's exit succeeds."""
    with suppress(OSError, ValueError):  # the streams of a test runner have no descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def exit_if_failed(failures: Mapping[str, str]) -> None:
    """Print the failed tasks of a run, a line per reason, and exit if there are any.

    Args:
        failures: Traceback by task key; may be empty.

    Raises:
        typer.Exit: With code 1 if there are failures.
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
        "The tracebacks are in the store, in failures/. Run the same command again to retry the "
        "tasks."
    )
    raise typer.Exit(ExitCode.FAILED)
