"""JSON schemas for editors: what a run accepts validates, and a slip of the pen does not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from segtransfer import search_spaces, tasks
from segtransfer.cli import app
from segtransfer.experiment.spec import Experiment
from segtransfer.searches.spec import Search
from segtransfer.studies.base import BaseExperiment
from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.json_schema import attributes_of
from segtransfer.tasks.schema import Frozen
from segtransfer.tasks.yaml_files import parse, read_mapping

SHIPPED = {
    "experiment": Path(tasks.__file__).parent / "recipes",
    "study": Path(tasks.__file__).parent / "studies",
    "search": Path(search_spaces.__file__).parent / "recipes",
    "space": Path(search_spaces.__file__).parent,
}
FILES = [(kind, path) for kind, folder in SHIPPED.items() for path in sorted(folder.glob("*.yaml"))]


def validator(kind: str) -> jsonschema.Draft202012Validator:
    answer = CliRunner().invoke(app, ["schema", kind])
    assert answer.exit_code == 0, answer.output
    schema = json.loads(answer.output)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="module")
def experiments() -> jsonschema.Draft202012Validator:
    return validator("experiment")


@pytest.mark.parametrize(("kind", "path"), FILES, ids=lambda part: getattr(part, "stem", part))
def test_a_shipped_file_validates(kind: str, path: Path) -> None:
    assert [*validator(kind).iter_errors(read_mapping(path, "fields"))] == []


RIGHT = [
    "data: camvid",
    "data: {sample: camvid, images: 4}",
    "data: {mmseg: config.py, data_root: folder, fit: pipeline}",
    "models: [fcn-r18, {zoo: pspnet-r18}, {ensemble: [fcn-r18, pspnet-r18], weights: [1, 2]}]",
    "models: [{name: m, torch: {callable: 'm:net'}, label_map: {road: way, sky: null}}]",
    "attacks: [pgd, 'mine:PRESET', {preset: ds, eps: 8/255, step_size: eps/4, budget: 10}]",
    "attacks: [{preset: ti, smoothing: null, momentum: null, budget: null}]",
    "attacks: [{name: a, eps: 0.03, transforms: [ds, {di: {probability: 0.7}}], smoothing: ti}]",
    "numerics: fast",
    "numerics: {bf16: auto}",
    "attacks: [{preset: pgd, budget: 61/3}]",
    "base: null",
    "seed: 3",
]
WRONG = [
    "data: {sampel: camvid}",
    "models: [{name: m, torch: {calable: 'm:net'}}]",
    "attacks: [pgdd]",
    "attacks: [{preset: pgd, epz: 8/255}]",
    "attacks: [{eps: 8/255}]",
    "attacks: [{preset: pgd, eps: eight}]",
    "numerics: quick",
    "numerics: {bf16: maybe}",
    "seed: one",
    "seed: -1",
    "shard_size: 0",
    "runtime: {micro_batch: 0}",
    "data: {sample: camvid, size: [8, 24]}",
    "attacks: [{preset: pgd, steps: -1}]",
    "sed: 1",
]
WHOLE = "data: camvid\nmodels: [fcn-r18]\nattacks: [pgd]\n"


def changed(field: str) -> dict[str, Any]:
    return {**parse(WHOLE, "whole"), **parse(field, "field")}


@pytest.mark.parametrize("field", RIGHT)
def test_readable_form_validates(field: str, experiments: jsonschema.Draft202012Validator) -> None:
    assert [*experiments.iter_errors(changed(field))] == []


@pytest.mark.parametrize("field", WRONG)
def test_refused_field_does_not_validate(
    field: str, experiments: jsonschema.Draft202012Validator
) -> None:
    assert not experiments.is_valid(changed(field))


@pytest.mark.parametrize("preset", PRESETS.names())
def test_every_preset_validates_by_its_name(
    preset: str, experiments: jsonschema.Draft202012Validator
) -> None:
    assert [*experiments.iter_errors(changed(f"attacks: [{preset}]"))] == []


def test_a_file_with_a_base_needs_no_other_field(
    experiments: jsonschema.Draft202012Validator,
) -> None:
    experiments.validate({"base": "quickstart"})
    assert not experiments.is_valid({"seed": 1})


def test_null_removes_a_field_of_a_base_and_is_refused_without_one(
    experiments: jsonschema.Draft202012Validator,
) -> None:
    experiments.validate({"base": "quickstart", "numerics": None, "seed": None})
    experiments.validate({"base": "quickstart", "data": {"sample": None, "folder": "streets"}})
    assert not experiments.is_valid(changed("numerics: null"))
    assert not experiments.is_valid({"base": "quickstart", "numerics": "quick"})


def test_a_schema_has_no_path_of_this_machine() -> None:
    answer = CliRunner().invoke(app, ["schema"])
    assert str(Path.cwd()) not in answer.output


def mappings(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the schema of each spec in a schema, also inside its short forms."""
    if isinstance(schema, dict):
        if schema.get("additionalProperties") is False:
            yield schema
        for part in schema.values():
            yield from mappings(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from mappings(part)


def specs_of(base: type) -> Iterator[type]:
    for spec in base.__subclasses__():
        yield spec
        yield from specs_of(spec)


@pytest.mark.parametrize("spec", [Experiment, Search, BaseExperiment])
def test_every_field_of_a_spec_has_a_description(spec: type[Frozen]) -> None:
    here = {
        s.__name__ for s in specs_of(Frozen) if not s.__module__.startswith("segtransfer.tasks")
    }
    parts = [part for part in mappings(spec.model_json_schema()) if part.get("title") in here]
    assert spec.__name__ in {part["title"] for part in parts}
    bare = [
        f"{part['title']}.{field}"
        for part in parts
        for field, content in part["properties"].items()
        if not content.get("description")
    ]
    assert bare == []


def test_a_description_is_the_text_of_the_docstring_without_markup() -> None:
    class Described:
        """A class.

        Attributes:
            first: One line of ``text``.
            second: Two lines
                of text.

        A paragraph: not a field.
        """

    assert attributes_of(Described) == {
        "first": "One line of text.",
        "second": "Two lines of text.",
    }
