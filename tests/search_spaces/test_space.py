"""A space is read once, strictly; every wrong field is one readable sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from segtransfer.errors import InputError
from segtransfer.search_spaces import Space, read_space, space_names
from segtransfer.search_spaces.space import among
from tests.search_spaces.cases import space

MU = {"float": [0.5, 1]}
ON = {"switch": True}


def message(source: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_space(source)
    return str(caught.value)


def test_a_file_a_mapping_and_a_space_read_alike(tmp_path: Path) -> None:
    content = {"fields": {"momentum": ON, "momentum.mu": MU}, "first": ["mi"]}
    (tmp_path / "my_own.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    read = read_space(tmp_path / "my_own.yaml")
    assert read.name == "my-own"
    assert read == read_space({"name": "my-own", **content}) == read_space(read)


def test_a_relative_path_starts_at_the_folder_given(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("fields: {momentum: {switch: true}}")
    assert read_space("own.yaml", tmp_path).name == "own"
    with pytest.raises(InputError, match="neither a file nor a shipped space"):
        read_space("own.yaml", tmp_path / "elsewhere")


def test_a_space_that_ships_is_read_by_its_name() -> None:
    assert read_space("dynamic-scaling") == read_space("dynamic_scaling")
    assert read_space("quickstart").name == "quickstart"


def test_numbers_may_be_fractions_and_choices_stay_as_written() -> None:
    read = space({"step_size": {"choice": ["2/255", 0.01, None]}, "momentum.mu": {"float": [0, 1]}})
    assert read.fields["step_size"].choice == ("2/255", 0.01, None)
    (searched,) = space({"step_size": {"float": ["1/255", "8/255"]}}).fields.values()
    assert searched.float == (1 / 255, 8 / 255)


def test_a_part_is_a_condition_of_its_fields_written_or_not() -> None:
    bare = space({"momentum": ON, "momentum.mu": MU})
    written = space({"momentum": ON, "momentum.mu": {**MU, "when": {"momentum": True}}})
    assert bare.conditions("momentum.mu") == written.conditions("momentum.mu")
    assert bare.conditions("momentum.mu") == {"momentum": (True,)}


def test_conditions_chain() -> None:
    read = space(
        {
            "transforms.ds": ON,
            "transforms.ds.law": {"choice": ["uniform", "discrete"]},
            "transforms.ds.levels": {"int": [3, 9], "when": {"transforms.ds.law": "discrete"}},
            "label_version": {"choice": ["labels"], "when": {"transforms.ds.levels": [3, 4]}},
        }
    )
    assert read.needs("label_version") == {
        "transforms.ds.levels": (3, 4),
        "transforms.ds.law": ("discrete",),
        "transforms.ds": (True,),
    }
    assert not read.asks("transforms.ds.levels", {"transforms.ds": True})


def test_number_1_is_not_true() -> None:
    assert among(1, (1,))
    assert among(True, (True,))
    assert not among(1, (True,))
    assert not among(False, (0,))


def test_the_identity_is_all_but_name_and_about() -> None:
    fields = {"momentum": ON, "momentum.mu": MU, "step_size": {"choice": ["eps/4"]}}
    one = read_space({"name": "a", "about": "b", "fields": fields})
    assert one.identity() == read_space({"name": "c", "fields": fields}).identity()
    assert json.loads(json.dumps(one.identity())) == one.identity()
    turned = read_space(
        {"name": "a", "fields": dict(reversed(fields.items()))}
        | {"fields": {"step_size": fields["step_size"], "momentum": ON, "momentum.mu": MU}}
    )
    assert turned.identity() != one.identity()
    for change in ({"first": ["mi"]}, {"fields": {**fields, "momentum.mu": {"float": [0.5, 2]}}}):
        assert read_space({"name": "a", "fields": fields, **change}).identity() != one.identity()


def fields(**by_path: Any) -> dict[str, Any]:
    return {"name": "mine", "fields": {k.replace("__", "."): v for k, v in by_path.items()}}


WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an unknown key": (
        {"name": "mine", "feilds": {}},
        ["unknown key 'feilds'", "did you mean 'fields'?"],
    ),
    "no fields": ({"name": "mine"}, ["'fields'", "missing"]),
    "empty fields": (fields(), ["'fields'", "empty", "give 1 or more"]),
    "an unknown kind": (
        fields(momentum__mu={"flaot": [0, 1]}),
        ["momentum.mu", "unknown key 'flaot'", "did you mean 'float'?"],
    ),
    "no kind": (
        fields(momentum__mu={"log": True}),
        ["momentum.mu", "nothing", "exactly one of float, int, choice, switch"],
    ),
    "a bare value": (fields(momentum=True), ["'fields.momentum'", "mapping", "value: True"]),
    "two kinds": (
        fields(momentum__mu={**MU, "choice": [1]}),
        ["momentum.mu", "float and choice", "exactly one of"],
    ),
    "a range of one": (fields(momentum__mu={"float": [1]}), ["momentum.mu", "[low, high]", "[1]"]),
    "no number": (
        fields(momentum__mu={"float": ["a", 1]}),
        ["momentum.mu", "'a' is not a number", "8/255"],
    ),
    "an endless range": (
        fields(momentum__mu={"float": [0, float("inf")]}),
        ["momentum.mu", "finite", "'inf'"],
    ),
    "half steps of an int": (fields(steps={"int": [1, 9.5]}), ["steps", "integer", "9.5"]),
    "a reversed range": (
        fields(momentum__mu={"float": [1, 0.5]}),
        ["momentum.mu", "[1, 0.5]", "give low < high"],
    ),
    "an empty range": (fields(steps={"int": [5, 5]}), ["steps", "[5, 5]", "give low < high"]),
    "the logarithm of 0": (
        fields(momentum__mu={"float": [0, 1], "log": True}),
        ["momentum.mu", "log", "above 0"],
    ),
    "a step that misses the end": (
        fields(momentum__mu={"float": [0, 1], "step": 0.3}),
        ["momentum.mu", "steps of 0.3 from 0", "do not reach 1"],
    ),
    "a half step of an int": (
        fields(steps={"int": [1, 9], "step": 0.5}),
        ["steps", "step is 0.5", "whole number"],
    ),
    "a step of a choice": (
        fields(steps={"choice": [1, 2], "step": 1}),
        ["steps", "for float and int", "choice is given"],
    ),
    "no choice": (fields(loss={"choice": []}), ["loss", "choice is empty", "give 1 value or more"]),
    "a list as a choice": (fields(loss={"choice": [["js"]]}), ["loss", "a word", "['js']"]),
    "a choice twice": (fields(steps={"choice": [1, 1.0]}), ["steps", "1.0 twice"]),
    "a switch that is off": (fields(momentum={"switch": False}), ["momentum", "switch: true"]),
    "an unknown path": (
        fields(momentum__nu=MU),
        ["'momentum.nu'", "did you mean 'momentum.mu'?", "transforms.ds.low"],
    ),
    "an unknown transform": (
        fields(transforms__dss=ON),
        ["'transforms.dss'", "did you mean 'transforms.ds'?"],
    ),
    "the eps": (fields(eps=MU), ["'eps'", "cannot be searched", "threat model", "base attack"]),
    "the target": (fields(target__every={"int": [0, 3]}), ["'target.every'", "threat model"]),
    "the budget": (fields(budget={"int": [5, 9]}), ["'budget'", "cost", "base attack"]),
    "the iterates": (fields(steps_at={"choice": [1]}), ["'steps_at'", "which images"]),
    "a part as a choice": (
        fields(momentum={"choice": [None]}),
        ["'momentum'", "present or absent", "momentum: {switch: true}"],
    ),
    "a switched scalar": (
        fields(transforms__ds__antialias=ON),
        ["'transforms.ds.antialias'", "no part", "choice: [true, false]"],
    ),
    "a field before its part": (
        fields(momentum__mu=MU, momentum=ON),
        ["move 'momentum' before 'momentum.mu'"],
    ),
    "when on no field": (
        fields(momentum=ON, momentum__mu={**MU, "when": {"momentm": True}}),
        ["'momentum.mu'", "'momentm'", "no field of this space", "did you mean 'momentum'?"],
    ),
    "when on a later field": (
        fields(momentum={**ON, "when": {"steps": 3}}, steps={"int": [1, 9]}),
        ["'momentum'", "'steps'", "not an earlier field"],
    ),
    "when on itself": (
        fields(steps={"int": [1, 9], "when": {"steps": 3}}),
        ["'steps'", "not an earlier field"],
    ),
    "when on a value it cannot take": (
        fields(steps={"int": [1, 9], "step": 2}, momentum={**ON, "when": {"steps": [3, 4]}}),
        ["'momentum'", "'steps' to be 4", "1 to 9 in steps of 2"],
    ),
    "when on another choice": (
        fields(loss={"choice": ["js", None]}, momentum={**ON, "when": {"loss": "jss"}}),
        ["'momentum'", "'loss' to be jss", "js, null"],
    ),
    "when on a number for a switch": (
        fields(momentum=ON, steps={"int": [1, 9], "when": {"momentum": 1}}),
        ["'steps'", "'momentum' to be 1", "true, false"],
    ),
    "when on a continuous range": (
        fields(momentum__mu=MU, steps={"int": [1, 9], "when": {"momentum.mu": 0.7}}),
        ["'steps'", "'momentum.mu'", "name an int, choice or switch"],
    ),
    "when its part is off": (
        fields(momentum=ON, momentum__mu={**MU, "when": {"momentum": False}}),
        ["'momentum.mu' is never searched", "'momentum'"],
    ),
    "conditions that exclude each other": (
        fields(
            steps={"choice": [1, 2]},
            momentum={**ON, "when": {"steps": 1}},
            variance={**ON, "when": {"momentum": True, "steps": 2}},
        ),
        ["'variance' is never searched", "'steps'"],
    ),
    "an unknown preset first": (
        {**fields(momentum=ON), "first": ["mii"]},
        ["first.0", "unknown preset 'mii'", "did you mean 'mi'?"],
    ),
    "an unknown path first": (
        {**fields(momentum=ON), "first": ["mi", {"momentm": True}]},
        ["first.1", "'momentm'", "did you mean 'momentum'?"],
    ),
    "a number first": (
        {**fields(momentum=ON), "first": [3]},
        ["first.0", "preset", "value: 3"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_field_is_named_with_its_value_and_what_is_allowed(
    case: str, tmp_path: Path
) -> None:
    source, parts = WRONG[case]
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(source, sort_keys=False))
    for text in (message(path), message(source)):
        assert all(part in text for part in parts), text
        assert len(text.splitlines()) == 1 + ("feilds" in text), text
        assert "pydantic" not in text
    assert message(path).startswith(f"{path}: ")
    assert message(fields(eps=ON)).startswith("space 'mine': ")


def test_every_wrong_field_is_reported_at_once() -> None:
    lines = message(fields(eps=ON, momentum__nu=MU, norm=ON)).splitlines()
    assert [name in line for name, line in zip(["eps", "nu", "norm"], lines, strict=True)]
    assert all(line.startswith("space 'mine': ") for line in lines)


def test_missing_space_is_refused_with_a_shipped_name() -> None:
    text = message("quickstrat")
    assert "'quickstrat' is neither a file nor a shipped space" in text
    assert "did you mean 'quickstart'?" in text
    assert all(name in text for name in space_names())


@pytest.mark.parametrize(
    ("content", "part"),
    [("fields: [", "no valid YAML"), ("- a", "holds no mapping"), ("", "holds no mapping")],
)
def test_file_without_a_mapping_is_refused_as_a_space(
    content: str, part: str, tmp_path: Path
) -> None:
    (tmp_path / "torn.yaml").write_text(content)
    text = message(tmp_path / "torn.yaml")
    assert "torn.yaml" in text
    assert part in text


def test_a_space_cannot_be_changed_once_read() -> None:
    read: Space = space({"momentum": ON})
    with pytest.raises(ValueError, match="frozen"):
        read.name = "other"
