from typing import Any

import pytest
from pydantic import ValidationError

from segtransfer.tasks.models.spec import MmsegSource, ModelSpec


def test_the_name_of_a_zoo_model_is_a_whole_model() -> None:
    read = ModelSpec.model_validate("fcn-r18")
    assert (read.name, read.zoo) == ("fcn-r18", "fcn-r18")
    assert ModelSpec.model_validate({"zoo": "fcn-r18", "name": "mine"}).name == "mine"


def test_an_unknown_zoo_model_is_answered_with_a_suggestion() -> None:
    with pytest.raises(ValidationError, match="unknown zoo model 'fcn-18'; did you mean 'fcn-r18'"):
        ModelSpec.model_validate("fcn-18")


@pytest.mark.parametrize(
    ("adapters", "told"),
    [
        ({}, "names no adapter"),
        ({"zoo": "fcn-r18", "torch": {"callable": "a:b"}}, "names zoo and torch"),
        ({"torch": {"callable": "a:b"}, "huggingface": {"model": "a/b"}}, "torch and huggingface"),
    ],
)
def test_a_model_has_exactly_one_adapter(adapters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=f"{told}; give exactly one of"):
        ModelSpec.model_validate({"name": "m", **adapters})


@pytest.mark.parametrize("callable_", ["module", "module:", "a b:c", "a:b.c", "a:b()"])
def test_a_callable_is_written_as_module_and_function(callable_: str) -> None:
    with pytest.raises(ValidationError, match="callable"):
        ModelSpec.model_validate({"name": "m", "torch": {"callable": callable_}})


@pytest.mark.parametrize("sha256", ["abc", "0" * 63, "G" * 64])
def test_a_sha256_has_64_hex_digits(sha256: str) -> None:
    with pytest.raises(ValidationError, match="sha256"):
        MmsegSource(config="c", checkpoint="w.pth", sha256=sha256)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 61])
def test_names_are_short_and_fit_in_a_path(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        ModelSpec.model_validate({"name": name, "zoo": "fcn-r18"})
