"""The verb ``segtransfer models``."""

from typing import Annotated

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_with_message


def models(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Part of the names of mmsegmentation configs: list the matching configs with "
            "published weights instead. Default: list the parts of specs.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """List the models, defences, metrics, adapters and data readers that a spec can name.

    The list has shipped entries and entries of installed packages. With NAME, it has configs of
    mmsegmentation with published weights and mIoU instead.

    Example:
        segtransfer models
        segtransfer models pspnet

    Docs: reference/models, how-to/weights

    Raises:
        typer.Exit: With code 2 if no config has NAME in its name.
    """
    from segtransfer.reporting.models import print_models, print_published
    from segtransfer.reporting.registries import print_entries
    from segtransfer.tasks.data.reader_spec import READERS
    from segtransfer.tasks.metrics import METRICS
    from segtransfer.tasks.models.adapter_spec import ADAPTERS
    from segtransfer.tasks.models.defences import DEFENCES

    if name:
        with exit_with_message(name):
            print_published(console, name)
        return
    print_models(console)
    print_entries(console, ADAPTERS)
    print_entries(console, DEFENCES)
    print_entries(console, READERS)
    print_entries(console, METRICS)
