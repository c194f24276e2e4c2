"""Help texts: every verb has an example and a page, every option a meaning, at 80 columns."""

import importlib.util
import inspect
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.cli.boundary import OF_EVERY_VERB
from segtransfer.cli.command import PANELS
from segtransfer.cli.help import EXAMPLE_TITLE, help_text
from segtransfer.forecast.cost_model import STARTUP_SECONDS
from tests.conftest import ROOT

ROOT_COMMAND: Any = typer.main.get_command(app)
OF_TYPER = {"--help", "--install-completion", "--show-completion"}


def commands(command: Any = ROOT_COMMAND, *words: str) -> Iterator[tuple[str, Any]]:
    """Yield the words of every verb and group, with its command."""
    yield " ".join(words), command
    for name, verb in getattr(command, "commands", {}).items():
        yield from commands(verb, *words, name)


COMMANDS = dict(commands())
VERBS = {words: c for words, c in COMMANDS.items() if not hasattr(c, "commands")}
PARAMETERS = {
    f"{words} {parameter.opts[0]}": parameter
    for words, command in COMMANDS.items()
    for parameter in command.params
    if not OF_TYPER.intersection(parameter.opts)
}


def text_of(words: str) -> str:
    return Text.from_markup(COMMANDS[words].help).plain


def examples(words: str) -> list[str]:
    """Return the lines of a verb's example."""
    (block,) = [p for p in text_of(words).split("\n\n") if p.startswith(EXAMPLE_TITLE)]
    return [line.strip() for line in block.removeprefix(EXAMPLE_TITLE).splitlines()]


def test_top_level_help_has_every_verb_in_a_panel() -> None:
    shown = CliRunner().invoke(app, ["--help"], terminal_width=80).output
    for panel, verbs in PANELS.items():
        assert f" {panel} " in shown
        assert len(verbs) > 1
    assert {command.rich_help_panel for command in ROOT_COMMAND.commands.values()} == {*PANELS}


@pytest.mark.parametrize("words", VERBS)
def test_verb_example_is_accepted_by_the_parser(words: str) -> None:
    lines = examples(words)
    assert 1 <= len(lines) <= 2
    for line in lines:
        program, *arguments = shlex.split(line.partition(" > ")[0])
        assert program == "segtransfer"
        assert arguments[: len(words.split())] == words.split()
        VERBS[words].make_context(words, arguments[len(words.split()) :])


@pytest.mark.parametrize("words", COMMANDS)
def test_help_names_existing_pages(words: str) -> None:
    (line,) = [p for p in text_of(words).split("\n\n") if p.startswith("Docs: ")]
    pages = line.removeprefix("Docs: ").split(", ")
    assert [page for page in pages if not (ROOT / "docs" / f"{page}.md").is_file()] == []


@pytest.mark.parametrize("words", COMMANDS)
def test_help_opens_with_an_imperative_sentence(words: str) -> None:
    summary = text_of(words).partition("\n\n")[0]
    assert re.fullmatch(r"[A-Z][a-z]+\b.*\.", summary)
    assert not re.match(r"(The|A|An|What|Every|All|Each|Files|Jobs)\b", summary)


@pytest.mark.parametrize("words", COMMANDS)
def test_help_fits_80_columns_without_broken_lines(words: str) -> None:
    shown = CliRunner().invoke(app, [*words.split(), "--help"], terminal_width=80).output
    assert max(map(len, shown.splitlines())) <= 80
    for line in examples(words) if words in VERBS else []:
        assert f"    {line}\n" in re.sub(r" +\n", "\n", shown)


@pytest.mark.parametrize("name", PARAMETERS)
def test_argument_or_option_has_meaning_placeholder_and_default(name: str) -> None:
    parameter = PARAMETERS[name]
    assert re.fullmatch(r"[^\[\]]+\.", parameter.help), "rich reads square brackets as markup"
    if not getattr(parameter, "is_flag", False):
        assert parameter.metavar
        shown = parameter.show_default and parameter.default is not None
        assert parameter.required or shown or "Default: " in parameter.help


def test_options_of_every_verb_are_the_options_of_the_command() -> None:
    names = {name for p in ROOT_COMMAND.params for name in p.opts}
    assert names - OF_TYPER - {"--version"} == {*OF_EVERY_VERB}


def test_startup_seconds_help_has_the_default_of_the_forecast() -> None:
    assert f"Default: {STARTUP_SECONDS:g}." in PARAMETERS["plan --startup-seconds"].help


def test_help_text_joins_paragraphs_keeps_examples_and_omits_the_contract() -> None:
    text = help_text(
        """Do a thing
        with [0, 1].

        Example:
            a
            b [c]

        Raises:
            typer.Exit: Always.
        """
    )
    assert Text.from_markup(text).plain == ("Do a thing with [0, 1].\n\nExample:\n    a\n    b [c]")


def test_docstrings_of_verbs_have_no_args_section() -> None:
    """The arguments of a verb are described by the help of its options alone."""
    for words, command in VERBS.items():
        assert "Args:" not in (inspect.getdoc(command.callback) or ""), words


def test_command_page_is_generated_from_the_code() -> None:
    path = ROOT / "docs/pages/command.py"
    spec = importlib.util.spec_from_file_location("command_page_source", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs/reference/command.md").read_text()
    page = re.sub(r"\n<!--.*?-->\n", "", page)  # the note of a generator
    assert page == module.command_page(), "run: python docs/pages/command.py"
