from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from segtransfer.tasks.data.spec import DataSpec


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "names no source"),
        ({"sample": "camvid", "folder": "x"}, "names sample and folder"),
        ({"folder": "x", "mmseg": "y"}, "names folder and mmseg"),
    ],
)
def test_a_data_set_has_exactly_one_source(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=f"{told}; give exactly one of"):
        DataSpec.model_validate(fields)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sample": "cityscapes"},
        {"images": 0},
        {"size": (8, 64)},
        {"size": 64},
        {"fit": "stretch"},
        {"split": "../x"},
        {"classes": ["one"]},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        DataSpec.model_validate({"sample": "camvid", **wrong})


def test_a_misspelt_key_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(ValidationError, match="unknown key 'foldr': did you mean 'folder'"):
        DataSpec.model_validate({"foldr": "x"})


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"folder": "x", "fit": "native", "size": [32, 32]},
            r"'native' determines .* size is \[32",
        ),
        ({"mmseg": "x", "fit": "pipeline", "size": [32, 32]}, "'pipeline' determines the size"),
        (
            {"folder": "x", "fit": "pipeline"},
            "data.folder is given; set fit: native, or give a size",
        ),
    ],
)
def test_a_fit_that_decides_sizes_takes_none(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        DataSpec.model_validate(fields)


def read(base: Path, **fields: Any) -> DataSpec:
    return DataSpec.model_validate(fields, context={"base": base})


def test_root_begins_the_path_of_a_folder_and_of_an_mmseg_data_sets_files(tmp_path: Path) -> None:
    below = read(tmp_path, folder="streets", root="data")
    assert below.folder == str(tmp_path / "data/streets")
    assert read(tmp_path, folder="streets").folder == str(tmp_path / "streets")
    assert read(tmp_path, mmseg="cityscapes", root="data").root == str(tmp_path / "data")
    for spec in (below, read(tmp_path, mmseg="cityscapes", root="data")):
        assert DataSpec.model_validate(spec.model_dump(mode="json")) == spec


def test_data_root_is_the_old_name_of_root(tmp_path: Path) -> None:
    new = read(tmp_path, mmseg="cityscapes", root="/data")
    assert read(tmp_path, mmseg="cityscapes", data_root="/data") == new
    assert read(tmp_path, mmseg="cityscapes", data_root="/data", root="/data") == new
    assert read(tmp_path, sample="camvid", data_root=None) == DataSpec(sample="camvid")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"sample": "camvid", "root": "x"}, "data.sample is given; leave root out"),
        ({"folder": "/a/b", "root": "/x"}, "folder '/a/b' is not relative, and root is '/x'"),
        (
            {"folder": "~/b", "root": "/x"},
            "folder '~/b' is not relative, and root is '/x'; leave root out",
        ),
        ({"mmseg": "x", "data_root": "/a", "root": "/b"}, "data_root '/a' is the old name of root"),
    ],
    ids=str,
)
def test_a_root_without_effect_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        DataSpec.model_validate(fields)
