"""The verb ``segtransfer attacks``."""

from typing import Annotated

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_with_message


def attacks(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A preset to print whole, or a part of the name, rule or source of the presets to "
            "list. Default: list all parts of specs.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """List the presets, transforms, gradient rules and losses that a spec can name.

    The list has shipped entries and entries of installed packages, with defaults and units. NAME
    gives a preset whole: rule, source, fields, schedules, cost and labels.

    Example:
        segtransfer attacks
        segtransfer attacks ds-mi

    Docs: explanation/concepts, how-to/registries, reference/attacks

    Raises:
        typer.Exit: With code 2 if no preset has NAME in its name, rule or source.
    """
    from segtransfer.reporting.attacks import print_attack, print_attacks
    from segtransfer.reporting.registries import print_entries
    from segtransfer.tasks.attacks.gradient_rules.base import GRADIENTS
    from segtransfer.tasks.attacks.losses import LOSSES
    from segtransfer.tasks.attacks.presets import PRESETS
    from segtransfer.tasks.attacks.transforms import TRANSFORMS

    if name:
        with exit_with_message(name):
            is_one = name in PRESETS or PRESETS.is_foreign(name)
            (print_attack if is_one else print_attacks)(console, name)
        return
    print_attacks(console)
    print_entries(console, TRANSFORMS)
    print_entries(console, GRADIENTS)
    print_entries(console, LOSSES)
