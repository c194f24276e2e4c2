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
        ({"folder": "x", "fit": "native", "size": [32, 32]}, r"'native' decides .* size is \[32"),
        ({"mmseg": "x", "fit": "pipeline", "size": [32, 32]}, "'pipeline' decides the size"),
        ({"folder": "x", "fit": "pipeline"}, "the data are of folder; give fit native, or a size"),
    ],
)
def test_a_fit_that_decides_sizes_takes_none(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        DataSpec.model_validate(fields)
