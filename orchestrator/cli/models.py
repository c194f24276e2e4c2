"""``segtransfer models``."""

from typing import Annotated

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_with_message


def models(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Part of the names of mmsegmentation configs; lists those with weights by name.",
        ),
    ] = "",
) -> None:
    """List models, metrics, adapters and data readers: shipped, and of installed packages."""
    from segtransfer.reporting.registries import print_entries
    from segtransfer.reporting.terminal import print_models, print_published
    from segtransfer.tasks.data.reader_spec import READERS
    from segtransfer.tasks.metrics import METRICS
    from segtransfer.tasks.models.adapter_spec import ADAPTERS

    if name:
        with exit_with_message(name):
            print_published(console, name)
        return
    print_models(console)
    print_entries(console, ADAPTERS)
    print_entries(console, READERS)
    print_entries(console, METRICS)
