"""The verb ``segtransfer doctor``."""

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import ExitCode
from segtransfer.experiment.shadowing import describe_shadow


def doctor() -> None:
    """Check the installation: versions, device, Ray, MLflow, disks and the shipped weights.

    A line per check says ok, note or BAD.

    Example:
        segtransfer doctor

    Docs: how-to/failures, how-to/one-node

    Raises:
        typer.Exit: With code 1 if a check is bad, and with code 2 if a file in the working folder
            hides the package segtransfer.
    """
    from segtransfer.reporting.doctor import print_health

    if not print_health(console, _server_trouble):
        raise typer.Exit(ExitCode.WRONG_INPUT if describe_shadow() else ExitCode.FAILED)


def _server_trouble(uri: str) -> str:
    from segtransfer.tracking.server import server_trouble  # loads mlflow, which may be missing

    return server_trouble(uri)
