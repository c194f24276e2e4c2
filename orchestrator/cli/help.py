"""Registration of verbs, with help texts made of their docstrings, and a check before each."""

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from rich.markup import escape
from typer.core import TyperCommand

from segtransfer.cli.exits import exit_with_message
from segtransfer.experiment.shadowing import check_not_shadowed

EXAMPLE_TITLE = "Example:\n"
_CONTRACT = re.compile(r"\n\n(?:Args|Returns|Raises):\n.*", re.DOTALL)  # for readers of the code
# Verbs that start no worker; doctor reports a hidden package among its checks.
ANYWHERE = ("attacks", "doctor", "models", "schema")

Verb = TypeVar("Verb", bound=Callable[..., object])


class VerbCommand(TyperCommand):
    """Command of a verb, refused in a working folder which hides segtransfer, except for help."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb.

        Args:
            ctx: Context of the verb, whose options have been read.

        Raises:
            typer.Exit: With code 2 if the working folder hides the package segtransfer.
        """
        if self.name not in ANYWHERE:
            with exit_with_message(""):
                check_not_shadowed()
        return super().invoke(ctx)


def verb(
    app: typer.Typer, name: str | None = None, panel: str | None = None
) -> Callable[[Verb], Verb]:
    """Return a decorator that adds a function to an app as a verb.

    Args:
        app: The app or group of verbs.
        name: Name of the verb. Default: the function's name.
        panel: Title of the verb's panel in the app's help. Default: typer's panel "Commands".
    """

    def add(function: Verb) -> Verb:
        text = help_text(inspect.getdoc(function) or "")
        app.command(name, cls=VerbCommand, help=text, rich_help_panel=panel)(function)
        return function

    return add


def help_text(text: str) -> str:
    """Return a docstring up to Args, Returns or Raises, in the form that typer prints as help.

    Lines of a paragraph are joined, because typer would keep their line breaks; the lines of an
    example are kept. Square brackets are escaped, because typer reads rich's markup.
    """
    paragraphs = _CONTRACT.sub("", inspect.cleandoc(text)).split("\n\n")
    return "\n\n".join(
        escape(p if p.startswith(EXAMPLE_TITLE) else " ".join(p.split())) for p in paragraphs
    )
