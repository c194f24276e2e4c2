"""``segtransfer doctor``."""

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import ExitCode


def doctor() -> None:
    """Check versions, device, Ray, MLflow, the shipped weights, and that `tasks` is ours."""
    from segtransfer.reporting.doctor import print_health

    if not print_health(console):
        raise typer.Exit(ExitCode.FAILED)
