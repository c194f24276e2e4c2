"""``segtransfer infra``: copy."""

from pathlib import Path
from typing import Annotated

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_with_message

infra_app = typer.Typer(
    no_args_is_help=True, help="Files for Slurm, Ray clusters, Kubernetes, containers, Grafana."
)


@infra_app.command("copy")
def infra_copy(
    folder: Annotated[str, typer.Argument(help="Folder to copy to. Default: infra.")] = "infra",
) -> None:
    """Copy the files for clusters into a folder; existing files are kept."""
    from segtransfer.jobs.infra_files import copy_infra

    with exit_with_message(folder):
        copied = copy_infra(Path(folder).expanduser())
        console.print(f"{len(copied.written)} files copied to {folder}.", highlight=False)
        for path in copied.kept:
            console.print(f"kept, differs from ours: {path}", highlight=False, markup=False)
