"""The verb ``segtransfer export``."""

from typing import Annotated, Literal

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_with_message
from segtransfer.cli.options import LocationArgument


def export(
    store: LocationArgument,
    out: Annotated[str, typer.Argument(metavar="FOLDER", help="Folder to write to; new or empty.")],
    kind: Annotated[
        Literal["parquet", "csv", "png", "hf"],
        typer.Option(
            "--format",
            metavar="parquet|csv|png|hf",
            help="Format: tables of scores (parquet, csv), images as PNG files (png), or a data "
            "set for the library datasets of Hugging Face (hf).",
        ),
    ] = "parquet",
    experiment: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Experiment to export: its name, or at least four first characters of its "
            "identity. Default: the only experiment of the store.",
        ),
    ] = None,
    predictions: Annotated[
        bool,
        typer.Option(
            "--predictions",
            help="Also write the predicted classes of every target as images; for the formats png "
            "and hf.",
        ),
    ] = False,
) -> None:
    """Write an experiment as tables, PNG files or a data set of Hugging Face.

    Example:
        segtransfer export segtransfer-store tables
        segtransfer export segtransfer-store pictures --format png --predictions

    Docs: reference/store

    Raises:
        typer.Exit: With code 2 if the store, the experiment or the folder is wrong.
    """
    from segtransfer.export import export
    from segtransfer.reporting.export import ExportView, print_export

    with exit_with_message(""), ExportView(console) as view:
        exported = export(store, out, kind, experiment, predictions=predictions, advance=view)
    print_export(exported, console)
