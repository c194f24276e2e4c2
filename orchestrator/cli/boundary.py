"""The boundary of the command: every error ends as a sentence and an exit code."""

import errno
import io
import re
import sys
from typing import Any

from typer.core import TyperGroup

from segtransfer.cli.exits import RERUN, describe, leave_output

OF_EVERY_VERB = ("--debug", "--verbose", "-v", "--quiet", "-q")
SHORT_AS_ONE = re.compile("-[qv]{2,}")


class Boundary(TyperGroup):
    """Group of all verbs, whose ``main`` handles the errors that no verb handles."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command line and exit.

        Characters outside the terminal's encoding are replaced. Standard output is flushed here,
        because a failing flush at the interpreter's exit prints a traceback and exits with 120.

        Raises:
            SystemExit: Always, with the exit code.
        """
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        try:
            super().main(*arguments, **options)
        except SystemExit as end:
            if error := _pipe_error(end.__context__) or _flush_error():
                raise SystemExit(leave_output(error)) from error
            raise
        except OSError as error:  # from printing help or version; verbs handle their own errors
            raise SystemExit(leave_output(error)) from error
        except Exception as error:
            raise SystemExit(describe(error, "", RERUN)) from error

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept the options of every verb after the verb as well as before.

        Args:
            ctx: Context of the group.
            args: Arguments of the command line; arguments after ``--`` keep their place.

        Returns:
            The arguments that the group leaves to the verb.
        """
        end = args.index("--") if "--" in args else len(args)
        first = [a for a in args[:end] if a in OF_EVERY_VERB or SHORT_AS_ONE.fullmatch(a)]
        rest = [a for a in args[:end] if a not in first]
        return super().parse_args(ctx, first + rest + args[end:])


def _pipe_error(error: BaseException | None) -> OSError | None:
    """Return an error if it concerns a closed pipe, for which typer and rich exit with 1."""
    return error if isinstance(error, OSError) and error.errno == errno.EPIPE else None


def _flush_error() -> OSError | None:
    """Return the error of standard output, or None if all output was written."""
    try:
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
    except OSError as error:
        return error
    return None
