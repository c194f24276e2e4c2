"""The generated page docs/reference/command.md: every verb, argument and option of the command."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from segtransfer.cli import app
from segtransfer.cli.help import EXAMPLE_TITLE

PAGE = Path(__file__).resolve().parents[1] / "reference/command.md"
INTRODUCTION = """\
# The command

`segtransfer VERB --help` prints this text in the terminal. [The command line](command-line.md) has
exit codes, progress, shell completion, a first spec, specs that share fields, and editors. This
page is generated from the code.
"""
WIDTH = 120  # characters of a line
NOT_LISTED = ("--help", "--install-completion", "--show-completion")


def command_page() -> str:
    """Return the page in Markdown."""
    root: Any = typer.main.get_command(app)
    parts = [INTRODUCTION, "## Options of every verb\n", *_parameters(root)]
    panels: dict[str, list[Any]] = {}
    for command in root.commands.values():
        panels.setdefault(command.rich_help_panel, []).append(command)
    for panel, commands in panels.items():
        parts.append(f"## {panel}\n")
        for command in commands:
            parts += _section(command, "segtransfer", "###")
    return "\n".join(parts)


def _section(command: Any, before: str, mark: str) -> Iterator[str]:
    """Yield the parts of a verb, or of a group with its verbs.

    Args:
        command: The verb or group.
        before: The words of the command line before its name.
        mark: The marks of its heading.
    """
    words = f"{before} {command.name}"
    yield f"{mark} {words}\n"
    for paragraph in Text.from_markup(command.help).plain.split("\n\n"):
        if paragraph.startswith(EXAMPLE_TITLE):
            yield paragraph.removeprefix(EXAMPLE_TITLE) + "\n"
        elif paragraph.startswith("Docs: "):
            pages = paragraph.removeprefix("Docs: ").split(", ")
            yield _filled("More: " + ", ".join(f"[{page}](../{page}.md)" for page in pages))
        else:
            yield _filled(paragraph)
    for verb in getattr(command, "commands", {}).values():
        yield from _section(verb, words, mark + "#")
    if not hasattr(command, "commands"):
        yield from _parameters(command)


def _filled(paragraph: str) -> str:
    return textwrap.fill(paragraph, WIDTH, break_on_hyphens=False, break_long_words=False) + "\n"


def _parameters(command: Any) -> Iterator[str]:
    """Yield the table of a verb's arguments and options; nothing if the verb has none."""
    rows = [_row(p) for p in command.params if not {*p.opts} & {*NOT_LISTED}]
    if rows:
        yield "| argument or option | meaning | default |\n|---|---|---|"
        yield "\n".join(rows) + "\n"


def _row(parameter: Any) -> str:
    """Return the table row of an argument or option."""
    meaning, _, default = parameter.help.partition(" Default: ")
    if not default:
        default = "required" if parameter.required else _default(parameter)
    if parameter.envvar:
        default += f"; environment variable `{parameter.envvar}`"
    cells = (_names(parameter), meaning, default.removesuffix("."))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _names(parameter: Any) -> str:
    """Return the names of a parameter, with the placeholder of an option's value."""
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}`"
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    return names if parameter.is_flag else f"{names} `{parameter.metavar}`"


def _default(parameter: Any) -> str:
    """Return the default of a parameter whose help has none."""
    if not getattr(parameter, "is_flag", False):
        return f"`{getattr(parameter.default, 'value', parameter.default)}`"
    if parameter.secondary_opts:
        return f"`{(parameter.opts if parameter.default else parameter.secondary_opts)[0]}`"
    return "off"


if __name__ == "__main__":
    PAGE.write_text(command_page())
