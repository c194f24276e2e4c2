"""``segtransfer export``."""

from typing import Annotated, Literal

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_with_message
from segtransfer.cli.options import ExperimentOption, LocationArgument


def export(
    store: LocationArgument,
    out: Annotated[str, typer.Argument(help="A folder that is new or empty.")],
    kind: Annotated[
        Literal["parquet", "csv", "png", "hf"],
        typer.Option("--format", help="Tables, image files, or a data set of Hugging Face."),
    ] = "parquet",
    experiment: ExperimentOption = None,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="png, hf: the predictions of every target too.")
    ] = False,
) -> None:
    """Write an experiment for others to read: tables, PNG files, a data set of Hugging Face."""
    from segtransfer.export import export
    from segtransfer.reporting.export import ExportView, print_export

    with exit_with_message(store), ExportView(console) as view:
        exported = export(store, out, kind, experiment, predictions=predictions, advance=view)
    print_export(exported, console)
