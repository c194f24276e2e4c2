"""``segtransfer compare``."""

from typing import Annotated

import typer

from segtransfer import api
from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_with_message
from segtransfer.cli.json_output import JsonOption, print_json
from segtransfer.cli.options import TrackingOption
from segtransfer.cli.projections import drawn, log_comparison, show_index


def compare(
    a: Annotated[str, typer.Argument(help="Baseline A: RUN, ATTACK or RUN:ATTACK.")],
    b: Annotated[str, typer.Argument(help="B, written like A; the result is B minus A.")],
    store: Annotated[
        str, typer.Option(help="Store in which names are looked up.")
    ] = "segtransfer-store",
    allow: Annotated[
        str,
        typer.Option(
            help="Differences to tolerate, comma-separated: images, targets, eps, numerics."
        ),
    ] = "",
    metric: Annotated[
        str, typer.Option(help="A metric of segtransfer models, or module:attribute of your own.")
    ] = "miou",
    tracking: TrackingOption = True,
    as_json: JsonOption = False,
) -> None:
    """Subtract attack A from attack B, or run A from run B, with intervals and a verdict.

    A RUN is a store's folder or URL (#NAME picks an experiment of it), an experiment's name or the
    beginning of its identity, or an MLflow run's id. An ATTACK alone is one of the newest run.
    """
    from segtransfer.reporting.comparison import (
        comparison_facts,
        comparison_folder,
        print_comparison,
        write_comparison,
    )

    with exit_with_message(""):
        allowed = [name.strip() for name in allow.split(",") if name.strip()]
        comparison = api.compare(a, b, store=store, allow=allowed, metric=metric)
        if as_json:
            print_json(comparison_facts(comparison))
            return
        print_comparison(comparison, console)
        if drawn("report", lambda: write_comparison(comparison)):
            console.print(f"\nReport: {comparison_folder(comparison)}", highlight=False)
        if tracking:
            log_comparison(comparison)
        show_index(comparison.b.store)
