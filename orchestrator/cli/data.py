"""The verb ``segtransfer data check``."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from segtransfer.cli.console import console, errors
from segtransfer.cli.exits import ExitCode, exit_with_message
from segtransfer.cli.help import help_text, verb
from segtransfer.cli.options import OverridesArgument, SpecArgument
from segtransfer.errors import InputError

ANY_MODELS = ("models=[fcn-r18]", "sources=null", "targets=null")  # the data need none of them
data_app = typer.Typer(
    name="data",
    no_args_is_help=True,
    help=help_text("Check the images and labels of a spec.\n\nDocs: how-to/data, how-to/data-sets"),
)

SheetOption = Annotated[
    str | None,
    typer.Option(
        metavar="PNG",
        help="PNG file to write: labels over sample images. An existing file is "
        "overwritten. Default: NAME-data.png in the working folder, with the spec's name.",
    ),
]


@verb(data_app, "check")
def data_check(
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    out: SheetOption = None,
) -> None:
    """Read all images and labels of a spec; print counts and every fault, and draw a sample.

    The models of the spec are not read and may be missing.

    Example:
        segtransfer data check quickstart
        segtransfer data check experiment.yaml --out sample.png

    Docs: how-to/data

    Raises:
        typer.Exit: With code 2 if the data have a fault, or the spec or ``--out`` is wrong.
    """
    from segtransfer.experiment.reading import read_experiment
    from segtransfer.reporting.data import (
        SHEET_COLUMNS,
        SHEET_ROWS,
        print_survey,
        write_contact_sheet,
    )
    from segtransfer.tasks.data.survey import survey

    with exit_with_message(spec):
        experiment = read_experiment(spec, [*(overrides or ()), *ANY_MODELS])
        path = _sheet_path(out or f"{experiment.name}-data.png")
        with _progress() as tell:
            found = survey(
                experiment.data,
                groups=experiment.schedule_groups,
                shard_size=experiment.shard_size,
                thumbnails=SHEET_COLUMNS * SHEET_ROWS,
                tell=tell,
            )
        print_survey(found, console)
        if found.thumbnails:
            write_contact_sheet(found, path)
            console.print(f"Contact sheet: {path}", highlight=False, markup=False)
        if found.faults:
            raise typer.Exit(ExitCode.WRONG_INPUT)


def _sheet_path(out: str) -> Path:
    """Return the path of the PNG file, with ``~`` expanded.

    Raises:
        InputError: If the name does not end with .png or its folder does not exist.
    """
    path = Path(out).expanduser()
    if path.suffix.lower() != ".png":
        raise InputError(f"--out {out} is no PNG file; give a name that ends with .png")
    if not path.parent.is_dir():
        raise InputError(
            f"--out {out}: the folder {path.parent} does not exist; create the folder first"
        )
    return path


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (images read, all images), which shows both on standard error.

    A terminal shows a line in place. Elsewhere a line is printed every ``LINE_EVERY`` seconds.
    """
    from segtransfer.reporting.progress import LINE_EVERY

    last = time.monotonic()
    with errors.status("") as status:

        def tell(done: int, total: int) -> None:
            nonlocal last
            line = f"{done:,} of {total:,} images read"
            if errors.is_terminal:
                status.update(line)
            elif time.monotonic() - last >= LINE_EVERY:
                last = time.monotonic()
                errors.print(line, highlight=False)

        yield tell
