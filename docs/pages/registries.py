"""The page of names: the entries of every registry, and the models, specs and studies that ship."""

from pathlib import Path
from typing import Any

from pages.markdown import as_markdown, code, table
from segtransfer.experiment.recipes import (
    EXPERIMENT_RECIPES,
    SEARCH_RECIPES,
    STUDY_BASES,
    recipe_names,
)
from segtransfer.experiment.runtime_spec import EXECUTORS
from segtransfer.search_spaces import read_space, space_names
from segtransfer.searches.proposals import PRUNERS, SAMPLERS
from segtransfer.studies.registry import STUDIES
from segtransfer.tasks.attacks.gradient_rules.base import GRADIENTS
from segtransfer.tasks.attacks.loops.spec import LOOPS
from segtransfer.tasks.attacks.losses import LOSSES
from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.attacks.transforms import TRANSFORMS
from segtransfer.tasks.data.reader_spec import READERS
from segtransfer.tasks.metrics import METRICS
from segtransfer.tasks.models.adapter_spec import ADAPTERS
from segtransfer.tasks.models.defences import DEFENCES
from segtransfer.tasks.models.zoo import ZOO
from segtransfer.tasks.registry import Registry

# Each registry with the place of its names, and the page that describes its entries.
REGISTRIES: tuple[tuple[Registry[Any], str, str], ...] = (
    (PRESETS, "`preset` of an attack", "[attacks](attacks.md)"),
    (TRANSFORMS, "`transforms` of an attack", "[transforms](transforms.md)"),
    (GRADIENTS, "`gradient` of an attack", "[gradient rules](gradients.md)"),
    (LOOPS, "`loop` of an attack", "[loops](loops.md)"),
    (LOSSES, "`loss` of an attack", "[losses](losses.md)"),
    (ADAPTERS, "`adapter` of a model", "none ships"),
    (DEFENCES, "`defences` of a model", "[defences](defences.md)"),
    (READERS, "`data.reader`", "[classifiers](../how-to/classifiers.md)"),
    (METRICS, "`metric` in Python", "[metrics](metrics.md)"),
    (EXECUTORS, "`runtime.executor`", "`inline`, `ray`"),
    (SAMPLERS, "`search.sampler`", "`tpe`, `random`"),
    (PRUNERS, "`search.pruner`", "`asha`, `median`, `none`"),
)

HEAD = """\
# Shipped names and registries

## Registries

A registry holds the parts of a subject. A spec names a shipped part by its plain name, a part of an
installed package by the name of its entry point in the group `segtransfer.SUBJECT`, and any other
part as `package.module:attribute`. [Parts of your own](../how-to/registries.md) has examples.

"""


def registries_page() -> str:
    """Return the page."""
    rows = [
        [code(registry.subject), place, entries, as_markdown(registry.form)]
        for registry, place, entries in REGISTRIES
    ]
    studies = [[code(study.name), as_markdown(study.question)] for study in STUDIES.values()]
    spaces = [[code(name), as_markdown(read_space(name).about)] for name in space_names()]
    return (
        HEAD
        + table(["subject", "named by", "shipped entries", "form of your own"], rows)
        + "\n## Models\n\nValues of `models`; `segtransfer models` lists them too. "
        "[How they were trained](../../infra/zoo/README.md).\n\n"
        + table(["model", "backbone", "classes", "description"], _models())
        + "\n## Specs\n\nShipped files of `segtransfer run`, `search` and `study`; the name "
        "replaces the path.\n\n"
        + table(["command", "name", "description"], _specs())
        + "\n## Search spaces\n\nValues of `search.space`. "
        "[How to write one](../../search_spaces/README.md).\n\n"
        + table(["space", "fields"], spaces)
        + "\n## Studies\n\nValues of NAME in `segtransfer study NAME`. "
        "[What they answered](../../tasks/studies/README.md).\n\n"
        + table(["study", "question"], studies)
    )


def _models() -> list[list[str]]:
    return [
        [code(model.name), model.backbone, str(len(model.classes)), as_markdown(model.description)]
        for model in ZOO.values()
    ]


def _specs() -> list[list[str]]:
    folders = {"run": EXPERIMENT_RECIPES, "search": SEARCH_RECIPES, "study": STUDY_BASES}
    return [
        [code(verb), code(name), _first_comment(folder / f"{name}.yaml")]
        for verb, folder in folders.items()
        for name in recipe_names(folder)
    ]


def _first_comment(file: Path) -> str:
    """Return the first sentence of the comment at the head of a YAML file."""
    lines = file.read_text().splitlines()
    text = " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    return as_markdown(text.partition(". ")[0].partition("  ")[0].rstrip("."))
