"""The verb ``segtransfer compare``."""

from typing import Annotated

import typer

from segtransfer import api
from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_with_message
from segtransfer.cli.json_output import JsonOption, print_json
from segtransfer.cli.projections import drawn, log_comparison, show_index

AArgument = Annotated[
    str, typer.Argument(metavar="A", help="Baseline A: a RUN, an ATTACK or RUN:ATTACK.")
]
BArgument = Annotated[
    str,
    typer.Argument(
        metavar="B", help="B, as a RUN, an ATTACK or RUN:ATTACK; the result is B minus A."
    ),
]
LookupStoreOption = Annotated[
    str, typer.Option(metavar="STORE", help="Folder or URL of the store to look up names in.")
]
AllowOption = Annotated[
    str,
    typer.Option(
        metavar="LIST",
        help="Differences between the runs to tolerate, comma-separated: images, targets, eps, "
        "numerics. Default: none; a difference is an error.",
    ),
]
MetricOption = Annotated[
    str,
    typer.Option(
        metavar="METRIC",
        help="Metric to compare: a name in the list of 'segtransfer models', or "
        "module:attribute of your own metric. Default: miou, or aacc for classifiers.",
    ),
]
ComparisonTrackingOption = Annotated[
    bool, typer.Option(help="Log the comparison to MLflow if B is logged there.")
]


def compare(
    a: AArgument,
    b: BArgument,
    store: LookupStoreOption = "segtransfer-store",
    allow: AllowOption = "",
    metric: MetricOption = "",
    tracking: ComparisonTrackingOption = True,
    as_json: JsonOption = False,
) -> None:
    """Subtract attack A from attack B, or run A from run B, with intervals and a verdict.

    A RUN is an experiment: its name, the first characters of its identity, the id of its MLflow
    run, or the folder or URL of a store, with #NAME for an experiment other than the newest. An
    ATTACK alone is an attack of the newest experiment in --store.

    Example:
        segtransfer compare pgd ds-mi
        segtransfer compare monday:pgd tuesday:pgd --allow images

    Docs: explanation/results

    Raises:
        typer.Exit: With code 2 if a name is unknown or the runs differ in other ways than --allow
            names.
    """
    from segtransfer.reporting.comparison import (
        comparison_facts,
        comparison_folder,
        print_comparison,
        write_comparison,
    )

    with exit_with_message(""):
        allowed = [name.strip() for name in allow.split(",") if name.strip()]
        comparison = api.compare(a, b, store=store, allow=allowed, metric=metric or None)
        if as_json:
            print_json(comparison_facts(comparison))
            return
        print_comparison(comparison, console)
        if drawn("report", lambda: write_comparison(comparison)):
            console.print(f"\nReport: {comparison_folder(comparison)}", highlight=False)
        if tracking:
            log_comparison(comparison)
        show_index(comparison.b.store)
