"""The comparison of shown and printed lines finds a difference, and no other."""

from pathlib import Path

import pytest

from tests.docs.console import Command, File, follow, missing_line, steps

PRINTED = "one  2.5\n━━━━\n/home/me/x 41afd79675c2\nlast\n"


@pytest.mark.parametrize(
    ("shown", "lacks"),
    [
        (("one  3.5", "━━", "/home/me/y 0123456789ab", "last"), None),
        (("...", "last"), None),
        (("one 3",), None),
        (("last",), "last"),
        (("...", "la ..."), None),
        (("lo ...",), "lo ..."),
        (("...", "last", "one 2.5"), "one 2.5"),
        (("...", "least"), "least"),
    ],
)
def test_shown_lines_are_found_in_their_order(shown: tuple[str, ...], lacks: str | None) -> None:
    assert missing_line(shown, PRINTED) == lacks


def page(folder: Path, block: str) -> Path:
    path = folder / "page.md"
    path.write_text(f"Text.\n\n```console\n{block}```\n")
    return path


def test_files_and_commands_follow_in_their_order_and_folder(tmp_path: Path) -> None:
    path = page(tmp_path, "$ mkdir new\n$ cd new\n$ echo one two\none two\n$ ls ..\nnew\n")
    path.write_text(path.read_text() + "\n```text\n# name.txt\n3\n```\n```yaml\na: 1\n```\n")
    *commands, file = steps(path)
    assert [command.line for command in commands if isinstance(command, Command)] == [
        "mkdir new", "cd new", "echo one two", "ls ..",
    ]  # fmt: skip
    assert file == File("name.txt", "3\n")
    (tmp_path / "work").mkdir()
    follow(path, tmp_path / "work")
    assert (tmp_path / "work/new/name.txt").read_text() == "3\n"


@pytest.mark.parametrize("block", ["$ false\n", "$ echo two\none\n"])
def test_a_command_that_fails_or_prints_something_else_fails(block: str, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with pytest.raises(AssertionError):
        follow(page(tmp_path, block), tmp_path / "work")
