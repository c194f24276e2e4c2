"""``segtransfer init``."""

import shlex
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

    The folder and four levels below are searched for a folder with images/ and labels/, configs
    of mmsegmentation with a checkpoint whose name starts like theirs, and models that transformers
    saved. The file is written to the working folder.
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
        console.print(f"Found {data}; models: {len(found.models)}.", highlight=False)
        name = shlex.quote(out)
        steps = f"segtransfer data check {name}, segtransfer plan {name}"
        sample = found.data is None and not found.models
        missing = "" if found.models or sample else " and add your models"
        console.print(
            f"Wrote {out}. Look at it{missing}, then: {steps}", highlight=False, soft_wrap=True
        )
