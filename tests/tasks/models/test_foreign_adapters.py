"""Adapters of a user's own: typed fields, a model that is checked, an identity from content."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.errors import InputError
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.numerics import REFERENCE
from segtransfer.tasks.models.spec import ModelSpec
from tests.tasks.foreign import on_path, write_entry_points, write_module

CODE = '''
import torch

from segtransfer.extend import AdapterSpec, AnyPath, Number, Segmenter


class Net(Segmenter):
    def __init__(self, scale):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.full((1,), scale))
        self.num_classes = 3

    def logits(self, images):
        return images * self.scale


class Scaled(AdapterSpec):
    """A model of one number."""

    scale: Number = 1.0
    notes: AnyPath | None = None
    how: str = ""

    def load(self):
        if self.how == "module":
            return torch.nn.Conv2d(3, 3, 1)
        if self.how == "raises":
            raise RuntimeError("no licence")
        net = Net(float(torch.rand(())) if self.how == "draws" else self.scale)
        if self.how == "nameless":
            del net.num_classes
        return net
'''
KIND = "own_adapters:Scaled"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write_module(tmp_path, "own_adapters", CODE)
    write_entry_points(tmp_path, "own_package", adapters={"scaled": KIND})
    with on_path(monkeypatch, tmp_path):
        yield tmp_path


def read(kind: str = KIND, **fields: Any) -> ModelSpec:
    return ModelSpec.model_validate({"name": "mine", "adapter": {kind: fields}})


def fingerprint(**fields: Any) -> str:
    return adapters.describe(read(**fields)).fingerprint


@pytest.mark.parametrize("kind", [KIND, "scaled"])
def test_a_model_of_an_adapter_is_loaded_and_frozen(kind: str) -> None:
    spec = read(kind, scale="1/2", how="draws")
    adapters.import_libraries(spec)
    adapters.check(spec)
    model = adapters.load_planned(spec, adapters.describe(spec).fingerprint)
    images = torch.rand(1, 3, 4, 5)
    assert torch.equal(model(images), images * next(model.parameters()))
    assert not next(model.parameters()).requires_grad
    assert adapters.describe(spec).backbone == kind


def test_windows_and_label_maps_work_as_for_any_model() -> None:
    content = {"name": "mine", "adapter": KIND, "classes": ["a", "b", "c"]}
    more = {
        "inference": {"mode": "slide", "crop": [2, 2], "stride": [2, 2]},
        "label_map": {"c": "a", "b": "b", "a": None},
    }
    spec = ModelSpec.model_validate(content | more)
    adapters.load(spec, "cpu", REFERENCE)
    assert adapters.describe(spec).fingerprint != fingerprint()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scale": True}, "is not a number"),
        ({"scal": 1}, "unknown key 'scal': did you mean 'scale'"),
    ],
)
def test_a_wrong_field_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        read(**fields)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("module", "returned Conv2d; return a segtransfer.extend.Segmenter"),
        ("raises", "adapter own_adapters:Scaled raised RuntimeError: no licence"),
        ("nameless", "has no num_classes"),
    ],
)
def test_a_wrong_model_is_refused_in_a_sentence(how: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^model 'mine': .*{message}"):
        adapters.describe(read(how=how))


def test_the_identity_is_code_fields_weights_and_the_content_of_files(folder: Path) -> None:
    notes = folder / "notes.txt"
    notes.write_text("one")
    other = folder / "elsewhere.txt"
    other.write_text("one")
    base, named = fingerprint(), fingerprint(notes=str(notes))
    assert len({base, named, fingerprint(scale=2), fingerprint(how="draws")}) == 4
    assert fingerprint(notes=str(other)) == named
    other.write_text("two")
    assert fingerprint(notes=str(other)) != named
    write_module(folder, "own_adapters", CODE + "\n")
    assert fingerprint() != base


def test_an_ensemble_has_members_of_any_adapter() -> None:
    member = {"name": "own", "adapter": KIND, "classes": ["a", "b", "c"]}
    spec = ModelSpec.model_validate({"ensemble": [member, {**member, "name": "two"}]})
    assert adapters.load(spec).num_classes == 3


def test_models_lists_what_packages_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done = CliRunner().invoke(app, ["models"])
    assert done.exit_code == 0, done.output
    for told in (
        "scaled",
        "A model of one number.",
        KIND,
        "ReaderSpec",
        "The intersection over union",
    ):
        assert told in done.output, told
