"""An experiment is read once, strictly; every wrong field is one readable sentence."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from segtransfer.experiment.reading import read_experiment
from segtransfer.experiment.spec import Experiment
from tests.orchestrator.experiment.specs import GOOD, good, message
from tests.orchestrator.toy_experiments import toy


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_a_bare_name_is_a_preset_a_zoo_model_or_a_sample() -> None:
    read = read_experiment(good())
    assert [m.zoo for m in read.models] == ["fcn-r18", "pspnet-r18"]
    assert [a.name for a in read.attacks] == ["pgd", "ds-mi"]
    assert read.data.sample == "camvid"
    assert read.attacks[1].steps == 5
    assert read.attacks[1].momentum is not None


def test_a_fraction_is_read_as_a_number() -> None:
    attack = {"preset": "pgd", "eps": "4/255", "step_size": "eps/4"}
    (read,) = read_experiment(good(attacks=[attack])).attacks
    assert read.eps == 4 / 255
    assert read.step_size == 1 / 255


def test_experiment_read_back_from_json_is_equal() -> None:
    read = read_experiment(good())
    assert Experiment.model_validate_json(read.model_dump_json()) == read


WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown key at the top": (
        good(atacks=["pgd"]),
        ["unknown key 'atacks'", "did you mean 'attacks'?"],
    ),
    "unknown key in data": (
        good(data={"sample": "camvid", "imges": 2}),
        ["'data'", "unknown key 'imges'", "did you mean 'images'?"],
    ),
    "unknown key in a model": (
        good(models=["fcn-r18", {"zoo": "pspnet-r18", "nam": "x"}]),
        ["'models.1'", "unknown key 'nam'", "did you mean 'name'?"],
    ),
    "unknown key in an adapter": (
        good(models=[{"name": "a", "torch": {"callable": "x:y", "argments": {}}}]),
        ["'models.0.torch'", "unknown key 'argments'", "did you mean 'arguments'?"],
    ),
    "unknown key in an attack": (
        good(attacks=["pgd", {"preset": "mi", "stps": 3}]),
        ["'attacks.1'", "unknown key 'stps'", "did you mean 'steps'?"],
    ),
    "unknown key in a transform": (
        good(attacks=[{"preset": "pgd", "transforms": [{"ds": {"lo": 0.5}}]}]),
        ["'attacks.0.transforms.0.ds'", "unknown key 'lo'", "did you mean 'low'?"],
    ),
    "unknown key in the momentum": (
        good(attacks=[{"preset": "pgd", "momentum": {"nu": 1}}]),
        ["'attacks.0.momentum'", "unknown key 'nu'", "Allowed: mu"],
    ),
    "unknown key in the runtime": (
        good(runtime={"windw": 2}),
        ["'runtime'", "unknown key 'windw'", "did you mean 'window'?"],
    ),
    "eps too large": (
        good(attacks=[{"preset": "pgd", "eps": 8, "step_size": 0.1}]),
        ["'attacks.0.eps'", "pixel range [0, 1]; did you mean 8/255?", "value: 8"],
    ),
    "eps negative": (
        good(attacks=[{"preset": "pgd", "eps": "-1/255", "step_size": 0.1}]),
        ["'attacks.0.eps'", "pixel range [0, 1]; write 0.03 or 8/255", "-1/255"],
    ),
    "eps not a number": (
        good(attacks=[{"preset": "pgd", "eps": "8/zero"}]),
        ["'attacks.0", "'8/zero' is not a number", "8/255"],
    ),
    "eps NaN": (
        good(attacks=[{"preset": "pgd", "eps": float("nan"), "step_size": 0.1}]),
        ["'attacks.0.eps'", "value: nan"],
    ),
    "unknown preset": (
        good(attacks=["pdg"]),
        ["'attacks.0'", "unknown preset 'pdg'", "did you mean 'pgd'?", "ds-mi"],
    ),
    "unknown zoo model": (
        good(models=["fcn-r81"]),
        ["'models.0.zoo'", "unknown zoo model 'fcn-r81'", "did you mean 'fcn-r18'?"],
    ),
    "unknown transform": (
        good(attacks=[{"preset": "pgd", "transforms": ["dss"]}]),
        ["'attacks.0.transforms.0'", "unknown transform 'dss'", "ds"],
    ),
    "unknown sample": (good(data="camvit"), ["'data.sample'", "camvit", "camvid"]),
    "two models with one name": (
        good(models=["fcn-r18", "fcn-r18"]),
        ["two models are named 'fcn-r18'", "rename one"],
    ),
    "two attacks with one name": (
        good(attacks=["pgd", {"preset": "pgd", "steps": 3}]),
        ["two attacks are named 'pgd'", "rename one"],
    ),
    "an attack named clean": (
        good(attacks=[{"preset": "pgd", "name": "clean"}]),
        ["an attack is named 'clean'"],
    ),
    "no attacks": (good(attacks=[]), ["attacks is empty", "at least one"]),
    "no models": (good(models=[]), ["models is empty", "at least one"]),
    "attacks left out": (
        {k: v for k, v in GOOD.items() if k != "attacks"},
        ["'attacks' is missing"],
    ),
    "sources naming no model": (
        good(sources=["fcn-18"]),
        ["sources", "'fcn-18'", "did you mean 'fcn-r18'?"],
    ),
    "targets naming no model": (
        good(targets=["zzz"]),
        ["targets", "'zzz'", "Allowed: fcn-r18, pspnet-r18"],
    ),
    "two adapters": (
        good(models=[toy("a") | {"zoo": "fcn-r18"}]),
        ["'models.0'", "zoo and torch", "exactly one of zoo, mmseg, torch"],
    ),
    "no adapter": (good(models=[{"name": "a"}]), ["'models.0'", "model 'a'", "no adapter"]),
    "two data sources": (
        good(data={"sample": "camvid", "folder": "x"}),
        ["'data'", "sample and folder", "exactly one"],
    ),
    "a wrong executor": (
        good(runtime={"executor": "dask"}),
        ["'runtime.executor'", "inline, ray", "dask"],
    ),
    "no slots": (good(runtime={"fleet": {"slots": 0}}), ["'runtime.fleet.slots", "value: 0"]),
    "a size too small": (
        good(data={"sample": "camvid", "size": [8, 64]}),
        ["'data.size.0'", "16", "value: 8"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_field_is_named_with_value_and_allowed_values(case: str, tmp_path: Path) -> None:
    source, parts = WRONG[case]
    path = write(tmp_path / "wrong.yaml", source)
    text = message(path)
    assert "wrong.yaml" in text
    assert all(part in text for part in parts), text
    assert "pydantic" not in text
    assert len(text.splitlines()) == 1, text


def test_every_wrong_field_is_reported_at_once(tmp_path: Path) -> None:
    source = good(seed=-1, shard_size=0)
    text = message(write(tmp_path / "wrong.yaml", source))
    assert "'seed'" in text.splitlines()[0]
    assert "'shard_size'" in text.splitlines()[1]


def test_invalid_yaml_names_the_file(tmp_path: Path) -> None:
    text = message(write(tmp_path / "torn.yaml", "data: [camvid\nmodels: {"))
    assert "torn.yaml" in text
    assert "no valid YAML" in text
    assert "line" in text


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "just words"])
def test_file_without_a_mapping_is_refused_with_the_needed_fields(
    tmp_path: Path, content: str
) -> None:
    text = message(write(tmp_path / "list.yaml", content))
    assert "list.yaml" in text
    assert "data, models and attacks" in text


def test_store_starts_at_the_working_folder_and_data_at_the_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs, work = tmp_path / "specs", tmp_path / "work"
    specs.mkdir()
    work.mkdir()
    monkeypatch.chdir(work)
    source = good(data={"folder": "images", "classes": ["a", "b"]}, runtime={"store": "results"})
    read = read_experiment(write(specs / "mine.yaml", source))
    assert read.runtime.store == str(work / "results")
    assert read.data.folder == str(specs / "images")
    assert read.name == "mine"


def test_paths_of_a_dict_start_at_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    read = read_experiment(good(data={"folder": "images", "classes": ["a", "b"]}))
    assert read.data.folder == str(tmp_path / "images")
    assert read.runtime.store == str(tmp_path / "segtransfer-store")


def test_a_store_on_another_filesystem_keeps_its_address() -> None:
    assert read_experiment(good(runtime={"store": "s3://bucket/x"})).runtime.store == (
        "s3://bucket/x"
    )


def test_experiment_is_immutable() -> None:
    read = read_experiment(good())
    with pytest.raises(ValueError, match="frozen"):
        read.seed = 3  # type: ignore[misc]
