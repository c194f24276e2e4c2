"""Lines of the command on pages have verbs, options and arguments as the command takes them."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from segtransfer.cli import app
from segtransfer.cli.leaderboard import RUN, RunByDefault
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROMPT = re.compile(r"^(?:\$ | {4,10}(?:[A-Z_]+=\S+ )?)segtransfer (.*)$", re.MULTILINE)


def lines(page: Path) -> list[list[str]]:
    """Return the arguments of each line of the command in the blocks of a page."""
    text = re.sub(r" \\\n +", " ", page.read_text())
    ours = (re.split(r" (?:[>|]|&&) ", line)[0] for line in PROMPT.findall(text))
    return [shlex.split(line, comments=True) for line in ours]


@pytest.mark.parametrize("page", [p for p in PAGES if lines(p)], ids=lambda page: page.stem)
def test_arguments_of_every_line_are_those_of_its_verb(page: Path) -> None:
    for arguments in lines(page):
        command: Any = typer.main.get_command(app)
        general = {name for option in command.params for name in option.opts}  # at any place
        rest = [argument for argument in arguments if argument not in general]
        while rest and hasattr(command, "commands"):
            if isinstance(command, RunByDefault) and rest[0] not in command.commands:
                rest = [RUN, *rest]
            assert rest[0] in command.commands, arguments
            command = command.commands[rest.pop(0)]
        if not hasattr(command, "commands"):
            command.make_context(command.name, rest)
