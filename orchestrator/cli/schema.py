"""The verb ``segtransfer schema``."""

from enum import StrEnum
from typing import Annotated

import typer

from segtransfer.cli.exits import exit_with_message
from segtransfer.cli.json_output import print_json


class SpecKind(StrEnum):
    """A kind of spec file."""

    EXPERIMENT = "experiment"
    SEARCH = "search"
    STUDY = "study"
    SPACE = "space"


def schema(
    kind: Annotated[
        SpecKind,
        typer.Argument(
            metavar="KIND",
            help="Kind of spec file: experiment, search, study (the base experiment of a study) or "
            "space (the space of a search).",
        ),
    ] = SpecKind.EXPERIMENT,
) -> None:
    """Print the JSON schema of a spec file, for completion and checks in editors.

    A YAML language server reads the schema that the first line of a spec names, for example
    '# yaml-language-server: $schema=segtransfer.schema.json'.

    Example:
        segtransfer schema > segtransfer.schema.json
        segtransfer schema search > search.schema.json

    Docs: reference/command-line
    """
    from segtransfer.experiment.editor_schema import editor_schema
    from segtransfer.experiment.spec import Experiment
    from segtransfer.search_spaces import Space
    from segtransfer.searches.spec import Search
    from segtransfer.studies.base import BaseExperiment
    from segtransfer.tasks.schema import Frozen

    kinds: dict[SpecKind, type[Frozen]] = {
        SpecKind.EXPERIMENT: Experiment,
        SpecKind.SEARCH: Search,
        SpecKind.STUDY: BaseExperiment,
        SpecKind.SPACE: Space,
    }
    with exit_with_message(kind):
        print_json(editor_schema(kinds[kind], inherits=kind is not SpecKind.SPACE))
