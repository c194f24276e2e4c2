"""``segtransfer schema``."""

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
    kind: Annotated[SpecKind, typer.Argument(help="Kind of file.")] = SpecKind.EXPERIMENT,
) -> None:
    """Print the JSON schema of a kind of spec file, for editors.

    With the schema in a file, the first line of a spec tells the editor:
    # yaml-language-server: $schema=segtransfer.schema.json
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
