"""``segtransfer init``."""

from pathlib import Path
from typing import Annotated

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_with_message
from segtransfer.errors import InputError


def init(
    folder: Annotated[
        str, typer.Argument(help="Folder with your images, labels and models.")
    ] = ".",
    out: Annotated[str, typer.Option(help="File to write.")] = "experiment.yaml",
) -> None:
    """Write a first experiment from the images, labels and models in a folder.

    Found are a folder with images/ and labels/, mmsegmentation configs with a checkpoint of the
    same name, and models that transformers saved.
    """
    from segtransfer.experiment.starter import look_into, starter_spec

    with exit_with_message(folder):
        path = Path(out).expanduser()
        if path.exists():
            raise InputError(f"--out {out} exists already; give another name")
        if not path.parent.is_dir():
            raise InputError(f"--out is {out}; create the folder {path.parent} first")
        found = look_into(Path(folder).expanduser(), path.parent)
        path.write_text(starter_spec(found), encoding="utf-8")
        data = "no data" if found.data is None else f"data in {found.data['folder']}"
        console.print(f"Found {data} and {len(found.models)} models.", highlight=False)
        console.print(f"Wrote {out}. Look at it, then: segtransfer plan {out}", highlight=False)
