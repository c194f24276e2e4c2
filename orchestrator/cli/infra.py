"""The verb ``segtransfer infra copy``."""

from pathlib import Path
from typing import Annotated

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_with_message
from segtransfer.cli.help import help_text, verb

infra_app = typer.Typer(
    name="infra",
    no_args_is_help=True,
    help=help_text(
        """Copy files for Slurm, Ray clusters, Kubernetes, containers and Grafana.

        Docs: how-to/slurm, how-to/kubernetes, how-to/four-nodes
        """
    ),
)


@verb(infra_app, "copy")
def infra_copy(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Folder to copy to; created if missing.")
    ] = "infra",
) -> None:
    """Copy the files for clusters into a folder; existing files are kept.

    Example:
        segtransfer infra copy

    Docs: how-to/slurm, how-to/kubernetes, how-to/four-nodes

    Raises:
        typer.Exit: With code 2 if the folder cannot be made.
    """
    from segtransfer.jobs.infra_files import copy_infra

    with exit_with_message(folder):
        copied = copy_infra(Path(folder).expanduser())
        console.print(f"{len(copied.written)} files copied to {folder}.", highlight=False)
        for path in copied.kept:
            console.print(
                f"Kept, although it differs from the shipped file: {path}",
                highlight=False,
                markup=False,
            )
