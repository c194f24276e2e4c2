"""Registries as terminal tables: entries that ship and entries of installed packages."""

import inspect
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from segtransfer.errors import InputError
from segtransfer.tasks.registry import Registry


def print_entries(console: Console, registry: Registry[Any]) -> None:
    """Print the entries of a registry with the first line of their docstrings and their origin.

    Args:
        console: The terminal.
        registry: A registry, for example of losses.
    """
    table = Table()
    table.add_column(registry.subject, style="bold", no_wrap=True)
    table.add_column("rule", ratio=3)
    table.add_column("from", ratio=1)
    installed = registry.installed()
    for name in registry.names():
        origin = "" if name in registry else installed[name]
        table.add_row(name, Text(described(registry, name)), origin)
    if registry.names():
        console.print(table)
    console.print(
        f"{registry.subject.capitalize()} of your own ({registry.form}): write "
        "package.module:attribute in a spec, or install a package with an entry point "
        f"'segtransfer.{registry.subject}'",
        highlight=False,
    )


def described(registry: Registry[Any], name: str) -> str:
    """Return an entry's meaning or docstring, its first line, or why it cannot be imported.

    Args:
        registry: A registry.
        name: The name of an entry.

    Returns:
        One line; for an entry of an installed package that cannot be imported, the reason.
    """
    try:
        entry = registry.find(name)
    except InputError as error:
        return str(error)
    meaning = getattr(entry, "meaning", None) or inspect.getdoc(entry) or ""
    return str(meaning).partition("\n")[0]
