"""Output to a terminal: styles of segtransfer, without escape sequences from names."""

import io

import pytest
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from segtransfer.cli.console import Terminal

NAMES = [
    "\x1b[31mname\x1b[0m",
    "\x1b]0;a title\x07name",
    "\x1b]8;;https://e.org\x1b\\name",
    "\x9b2Jname",
    "na\x08me\x07",
    "\u202ename\u2066",
    "\ud800name",
    "name\r",
    "\x1b[999;999Hname",
]


@pytest.mark.parametrize("name", NAMES)
def test_escape_sequences_are_removed_from_names(name: str) -> None:
    plain, coloured = (
        Terminal(file=io.StringIO(), force_terminal=colours, width=60, color_system=system)
        for colours, system in ((False, None), (True, "standard"))
    )
    for console in (plain, coloured):
        table = Table(name)
        table.add_row(name)
        table.add_row(Text(name))
        for thing in (escape(name), Text(name), Text.assemble((name, "bold")), table):
            console.print(thing)
        console.print(name, markup=False, highlight=False)
        console.rule(name)
    text = plain.file.getvalue()  # type: ignore[attr-defined]
    assert "name" in text
    assert not [c for c in text if not c.isprintable() and c != "\n"]
    assert "[31m" not in text
    assert "999" not in text
    styled = coloured.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[1mname" in styled, "its own styles stay"
    assert "title" not in styled
    assert "\x9b" not in styled
