"""A scalar of a spec is read as what it was written as, or refused in one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from segtransfer.experiment.reading import read_experiment
from segtransfer.experiment.spec_warnings import spec_warnings
from segtransfer.tasks.attacks import file_hash
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.models.spec import EnsembleSpec
from segtransfer.tasks.yaml_files import dump, parse
from tests.orchestrator.experiment.specs import good, message
from tests.orchestrator.toy_experiments import toy

INFINITE = float("inf")


def pgd(**fields: Any) -> dict[str, Any]:
    return good(attacks=[{"preset": "pgd", **fields}])


def torch_model(**fields: Any) -> dict[str, Any]:
    return good(models=["fcn-r18", {"name": "own", "torch": {"callable": "nets:build"} | fields}])


WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a boolean as whole number": (good(seed=True), ["'seed'", "'True' is not a whole number"]),
    "a boolean as number": (pgd(eps=True), ["'attacks.0.eps'", "'True' is not a number"]),
    "a boolean as slots": (
        good(runtime={"fleet": {"slots": True}}),
        ["slots", "'auto' or a whole"],
    ),
    "a number as boolean": (good(runtime={"tracking": 1}), ["tracking", "'1' is not a boolean"]),
    "a number as numerics": (
        good(numerics={"fold": 1}),
        ["fold", "is no option; write true, false or auto"],
    ),
    "text as whole number": (pgd(steps="20"), ["steps", "'20' is not a whole number"]),
    "a fraction as whole number": (pgd(steps=2.5), ["steps", "'2.5' is not a whole number"]),
    "a number with an underscore": (pgd(eps="0.0_3"), ["eps", "is not a number"]),
    "a number in other digits": (pgd(eps="٠.٠٣"), ["eps", "is not a number"]),
    "a number as name": (good(name=7), ["'name'", "put it in quotes"]),
    "no name": (good(name=""), ["'name'", "is not a name"]),
    "the folder as name": (good(name="."), ["'name'", "'.' is not a name"]),
    "the folder above as name": (pgd(name=".."), ["'attacks.0.name'", "'..' is not a name"]),
    "the folder above as model": (good(models=[toy("..")]), ["models.0.name", "is not a name"]),
    "the folder above as split": (
        good(data={"folder": "x", "split": ".."}),
        ["data.split", "is not a name"],
    ),
    "no store": (good(runtime={"store": ""}), ["runtime.store", "a character or more"]),
    "a blank store": (good(runtime={"store": "  "}), ["runtime.store", "a character or more"]),
    "a number as store": (good(runtime={"store": 5}), ["runtime.store", "put it in quotes"]),
    "a list as store": (good(runtime={"store": ["a"]}), ["runtime.store", "give text, in quotes"]),
    "null as store": (good(runtime={"store": None}), ["runtime.store", "give text, in quotes"]),
    "no folder": (good(data={"folder": ""}), ["data.folder", "a character or more"]),
    "a home of nobody": (good(data={"folder": "~nobody-here/x"}), ["data.folder", "not a path"]),
    "a NUL in a path": (good(data={"folder": "a\0b"}), ["data.folder", "NUL"]),
    "an endless deadline": (
        good(runtime={"least_deadline": INFINITE}),
        ["least_deadline", "'inf' is not a finite number"],
    ),
    "endless hours": (good(runtime={"max_hours": INFINITE}), ["max_hours", "finite number"]),
    "hours that are none": (good(runtime={"max_hours": float("nan")}), ["max_hours", "finite"]),
    "eps in levels": (pgd(eps=8), ["'attacks.0.eps'", "did you mean 8/255?", "value: 8"]),
    "eps in levels as text": (pgd(eps="16"), ["eps", "did you mean 16/255?"]),
    "a step size in levels": (pgd(step_size=2), ["step_size", "did you mean 2/255?"]),
    "no steps": (pgd(steps=0), ["'attacks.0'", "steps is 0", "start: uniform"]),
    "no steps and a transform": (
        good(attacks=[{"preset": "noise", "transforms": ["ds"]}]),
        ["'attacks.0'", "steps is 0"],
    ),
    "files that are null": (
        good(attacks=[{"name": "theirs", "files": None}]),
        ["'attacks.0'", "files is null"],
    ),
    "a model of the zoo of others": (
        good(models=["resnet50"]),
        ["unknown zoo model 'resnet50'", "mmseg: {config", "torch: {callable", "huggingface:"],
    ),
    "a callable with a point": (
        torch_model(callable="nets.build"),
        ["models.1.torch.callable", "did you mean nets:build?"],
    ),
    "a callable of no module": (torch_model(callable="build"), ["write package.module:function"]),
    "an endless argument": (
        torch_model(arguments={"x": [INFINITE]}),
        ["models.1.torch.arguments", "finite numbers"],
    ),
    "an argument that is no plain value": (torch_model(arguments={"x": {1, 2}}), ["arguments"]),
    "a split of the sample": (
        good(data={"sample": "camvid", "split": "val"}),
        ["'data'", "'camvid' has no splits", "sequences"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_value_of_another_kind_is_refused_in_one_sentence(case: str) -> None:
    source, parts = WRONG[case]
    text = message(source)
    assert all(part in text for part in parts), text
    assert len(text.splitlines()) == 1, text


@pytest.mark.parametrize("written", ["seed: 1\nseed: 2", "runtime: {window: 1, window: 2}"])
def test_a_key_given_twice_is_refused_with_its_lines(written: str, tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(yaml.safe_dump(good()) + written)
    text = message(path)
    assert "twice.yaml gives the key '" in text
    assert "twice, in line" in text


@pytest.mark.parametrize(
    ("override", "value"), [("seed=010", 10), ("seed=0x10", 16), ("seed=1_000", 1000)]
)
def test_whole_number_without_prefix_is_decimal(override: str, value: int) -> None:
    assert read_experiment(good(), [override]).seed == value


@pytest.mark.parametrize("written", ["1:30", "1e3", "30.0", "'30'", "true"])
def test_text_similar_to_a_whole_number_is_refused(written: str) -> None:
    assert "is not a whole number" in message(good(), f"seed={written}")


def test_yaml_of_json_is_read_as_json(tmp_path: Path) -> None:
    arguments = {"tiny": 1e-05, "time": "1:30", "id": "010", "on": True, "day": "2024-01-01"}
    path = tmp_path / "spec.yaml"
    path.write_text(json.dumps(torch_model(arguments=arguments)))
    (_, own) = read_experiment(path).models
    assert own.torch is not None
    assert own.torch.arguments == arguments


@pytest.mark.parametrize("text", ["1e3", "010", "1:30", "0o7", "2024-01-01", "yes", "~", ".5"])
def test_text_similar_to_another_kind_read_back_from_yaml_is_equal(text: str) -> None:
    assert parse(dump({"name": text}), "mine.yaml") == {"name": text}


def test_a_store_starts_at_the_working_folder_from_an_override(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_experiment(good(), ["runtime.store=mine"]).runtime.store == str(tmp_path / "mine")


def test_noise_needs_no_steps_and_files_none() -> None:
    assert AttackSpec.model_validate("noise").steps == 0
    wide = AttackSpec.model_validate({"name": "x", "steps": 0, "start": "uniform"})
    assert not wide.steps_taken


def test_files_are_no_home_folder_and_no_endless_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = {"name": "theirs", "files": str(tmp_path)}
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert "is or holds a home folder" in message(good(attacks=[attack]))
    monkeypatch.setenv("HOME", "/root/elsewhere")
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"1234")
    assert read_experiment(good(attacks=[attack])).attacks[0].files_sha256
    with monkeypatch.context() as patch:
        patch.setattr(file_hash, "MOST_HASHED_FILES", 2)
        assert "holds more than 2 files" in message(good(attacks=[attack]))
    monkeypatch.setattr(file_hash, "MOST_HASHED_BYTES", 11)
    assert "GiB; name a folder of images alone" in message(good(attacks=[attack]))


@pytest.mark.parametrize("weights", [[1e308, 1e308], [1e-300, 1e300], [1e-40, 1]])
def test_overflowing_or_vanishing_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="too large or too unequal"):
        EnsembleSpec.model_validate({"members": ["fcn-r18", "pspnet-r18"], "weights": weights})


def test_steps_beside_a_budget_are_a_whole_number() -> None:
    budget = {"preset": "pgd", "budget": 1}
    assert AttackSpec.model_validate({**budget, "steps": 1}).steps == 1
    with pytest.raises(ValueError, match="steps is True, and a budget is given"):
        AttackSpec.model_validate({**budget, "steps": True})


def test_target_classes_are_read_again_from_json() -> None:
    attack = AttackSpec.model_validate({"preset": "pgd", "target": {"classes": {0: 1, 12: 3}}})
    assert AttackSpec.model_validate_json(attack.model_dump_json()) == attack
    with pytest.raises(ValueError, match="not a whole number"):
        AttackSpec.model_validate({"preset": "pgd", "target": {"classes": {True: 1}}})


def test_allowed_but_unusual_values_are_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = good(attacks=[{"preset": "pgd", "eps": 1}, {"preset": "mi", "eps": 0}, "ds"])
    found = spec_warnings(read_experiment(source))
    assert len(found) == 2
    assert "attacks.0 'pgd': eps 1 is 255 of 255 levels" in found[0]
    assert "did you mean 1/255?" in found[0]
    assert "eps is 0" in found[1]
    assert [record.getMessage() for record in caplog.records] == found
