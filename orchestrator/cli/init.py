"""The verb ``segtransfer init``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from segtransfer.cli.console import console
from segtransfer.cli.exits import exit_with_message
from segtransfer.errors import InputError

UserFolderArgument = Annotated[
    str,
    typer.Argument(
        metavar="FOLDER",
        help="Folder with your images, labels and models. Default: the working folder.",
        show_default=False,
    ),
]


def init(
    folder: UserFolderArgument = ".",
    out: Annotated[
        str, typer.Option(metavar="FILE", help="YAML file to write; an existing file is kept.")
    ] = "experiment.yaml",
) -> None:
    """Write the spec of a first experiment from the images, labels and models in a folder.

    The folder and four levels below are searched for a folder with images/ and labels/, for
    configs of mmsegmentation beside a checkpoint with the same first characters in its name, and
    for models saved by transformers.

    Example:
        segtransfer init my-folder
        segtransfer init my-folder --out streets.yaml

    Docs: reference/command-line

    Raises:
        typer.Exit: With code 2 if the folder or the file is wrong.
    """
    from segtransfer.experiment.starter import look_into, starter_spec

    with exit_with_message(folder):
        path = Path(out).expanduser()
        if path.exists():
            raise InputError(f"--out {out} exists already; give another file")
        if not path.parent.is_dir():
            raise InputError(
                f"--out {out}: the folder {path.parent} does not exist; create the folder first"
            )
        found = look_into(Path(folder).expanduser(), path.parent)
        path.write_text(starter_spec(found), encoding="utf-8")
        data = "no data" if found.data is None else f"data in {found.data['folder']}"
        console.print(f"Found {data} and {len(found.models)} models.", highlight=False)
        name = shlex.quote(out)
        steps = f"segtransfer data check {name}, segtransfer plan {name}"
        sample = found.data is None and not found.models
        missing = "" if found.models or sample else ", add your models"
        console.print(
            f"Wrote {out}. Check the file{missing}, then run: {steps}",
            highlight=False,
            soft_wrap=True,
        )
