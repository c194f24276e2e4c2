"""``segtransfer data``: check."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from segtransfer.cli.console import console, errors
from segtransfer.cli.exits import ExitCode, exit_with_message
from segtransfer.cli.options import OverridesArgument, SpecArgument
from segtransfer.errors import InputError

ANY_MODELS = ("models=[fcn-r18]", "sources=null", "targets=null")  # the data need none of them
data_app = typer.Typer(no_args_is_help=True, help="Look at the data of a spec.")


@data_app.command("check")
def data_check(
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    out: Annotated[
        str | None,
        typer.Option(help="PNG of labels over images. Default: NAME-data.png, NAME of the spec."),
    ] = None,
) -> None:
    """Read every image and label of a spec's data; print counts and all that is wrong.

    Models are not read, and may be missing. The exit code is 2 if anything is wrong.
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
    """Return the path of the contact sheet.

    Raises:
        InputError: If the path is no PNG in an existing folder.
    """
    path = Path(out).expanduser()
    if path.suffix.lower() != ".png":
        raise InputError(f"--out is {out}; name a file that ends with .png")
    if not path.parent.is_dir():
        raise InputError(f"--out is {out}; create the folder {path.parent} first")
    return path


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows the numbers of read and of all images on standard error."""
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
