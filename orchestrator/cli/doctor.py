"""``segtransfer doctor``."""

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import ExitCode
from segtransfer.experiment.shadowing import describe_shadow


def doctor() -> None:
    """Check versions, device, Ray, MLflow, the shipped weights, and what workers would import."""
    from segtransfer.reporting.doctor import print_health

    if not print_health(console):
        raise typer.Exit(ExitCode.WRONG_INPUT if describe_shadow() else ExitCode.FAILED)
