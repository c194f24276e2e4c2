import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from segtransfer.errors import InputError
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.spec import ModelSpec
from tests.tasks.cases import toy

SOURCE = """
import torch

class Model(torch.nn.Module):
    num_classes = 2
    size_divisor = 8

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(3)
        self.drop = torch.nn.Dropout()

    def forward(self, images):
        return self.drop(self.norm(images))[:, :2]

def make():
    return Model()

make_alike = lambda: Model()

def wrong():
    return 3

def nameless():
    return torch.nn.Identity()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "a_users_module.py"
    path.write_text(SOURCE)
    monkeypatch.delitem(sys.modules, path.stem, raising=False)
    return path


def spec(callable_: str, name: str = "m", **arguments: Any) -> ModelSpec:
    source = {"callable": callable_, "arguments": arguments}
    return ModelSpec.model_validate({"name": name, "torch": source})


def fingerprint(read: ModelSpec) -> str:
    return adapters.describe(read).fingerprint


def test_a_module_is_loaded_frozen_in_evaluation_mode(module: Path) -> None:
    model = adapters.load(spec("a_users_module:make"))
    assert not any(m.training for m in model.modules())
    assert not any(p.requires_grad for p in model.parameters())
    assert (model.num_classes, model.size_divisor) == (2, 8)
    images = torch.rand(2, 3, 5, 7)
    assert torch.equal(model(images), model(images))


def test_arguments_reach_the_callable() -> None:
    assert toy("convolutional", num_classes=5).num_classes == 5
    images = torch.rand(1, 3, 6, 6)
    assert not torch.equal(toy("convolutional")(images), toy("convolutional", seed=1)(images))


@pytest.mark.parametrize("callable_", ["no_such_module:make", "tests.toys:no_such_function"])
def test_a_callable_that_cannot_be_imported_is_named(callable_: str) -> None:
    for ask in (adapters.check, adapters.describe, adapters.load):
        with pytest.raises(InputError, match=f"model 'm': {callable_} cannot be imported"):
            ask(spec(callable_))


@pytest.mark.parametrize(("function", "kind"), [("wrong", "int"), ("nameless", "Identity")])
def test_a_callable_must_return_a_module_that_knows_its_classes(
    function: str, kind: str, module: Path
) -> None:
    with pytest.raises(InputError, match=f"returned {kind} without a positive num_classes"):
        adapters.load(spec(f"a_users_module:{function}"))


def test_the_fingerprint_follows_arguments_and_source_but_not_the_name(module: Path) -> None:
    base = fingerprint(spec("a_users_module:make"))
    assert fingerprint(spec("a_users_module:make", name="other")) == base
    assert fingerprint(spec("a_users_module:make_alike")) != base
    toys = spec("tests.toys:convolutional", seed=1), spec("tests.toys:convolutional", seed=2)
    assert fingerprint(toys[0]) != fingerprint(toys[1])

    module.write_text(SOURCE.replace("[:, :2]", "[:, 1:]"))
    importlib.invalidate_caches()
    sys.modules.pop("a_users_module")
    assert fingerprint(spec("a_users_module:make")) != base


def test_number_of_classes_of_a_built_module_is_known_without_loading(module: Path) -> None:
    described = adapters.describe(spec("a_users_module:make"))
    assert (described.num_classes, described.classes) == (2, None)
