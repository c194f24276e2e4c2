"""The identity of a torch model is its content: files, weights, and the modules it imports."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from segtransfer.errors import InputError
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.label_map import join
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.user_code import find_function, source_hash


def spec(function: str, weights: Path | None = None, **arguments: Any) -> ModelSpec:
    source: dict[str, Any] = {"callable": f"tests.foreign_models:{function}"}
    source |= {"arguments": arguments} | ({"weights": str(weights)} if weights else {})
    return ModelSpec.model_validate({"name": "m", "torch": source})


def fingerprint(read: ModelSpec) -> str:
    return adapters.describe(read).fingerprint


@pytest.mark.parametrize("held", ["parameter", "buffer", "attribute", "list"])
def test_file_that_the_callable_loads_is_part_of_the_identity(tmp_path: Path, held: str) -> None:
    path = tmp_path / "w.pth"
    torch.save(torch.tensor(100.0), path)
    read = spec("from_file", path=str(path), held=held)
    before = fingerprint(read)
    assert fingerprint(read) == before
    torch.save(torch.tensor(50.0), path)
    assert fingerprint(read) != before


def test_unseeded_callable_builds_the_same_weights_every_time() -> None:
    read = spec("drawn")
    adapters.check(read)
    assert fingerprint(read) == fingerprint(read)
    one, other = (adapters.load(read).get_parameter("module.gain") for _ in range(2))
    assert torch.equal(one, other)
    before = torch.get_rng_state()
    fingerprint(read)
    assert torch.equal(torch.get_rng_state(), before)


def test_callable_whose_two_builds_differ_is_refused() -> None:
    read = spec("from_the_system")
    adapters.describe(read)
    with pytest.raises(InputError, match=r"two builds of .* differ; .*seed.* give .*torch.weights"):
        adapters.check(read)


def test_planned_model_of_other_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(torch.tensor(100.0), path)
    read = spec("from_file", path=str(path))
    planned = fingerprint(read)
    assert adapters.load_planned(read, planned).examined
    torch.save(torch.tensor(50.0), path)
    with pytest.raises(InputError, match="other weights or code on this node than in the plan"):
        adapters.load_planned(read, planned)


def test_weights_are_hashed_and_nothing_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.pth"
    state = spec("right"), {"gain": torch.tensor(7.0), "centres": torch.zeros(3)}
    torch.save(state[1], path)
    read = spec("right", path)
    with monkeypatch.context() as patch:
        patch.setattr("tests.foreign_models.Levels.__init__", None)
        before = fingerprint(read)
        adapters.check(read)
    assert adapters.load(read).get_parameter("module.gain") == 7
    torch.save({**state[1], "gain": torch.tensor(8.0)}, path)
    assert fingerprint(read) != before


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "net.module."])
def test_weights_below_a_prefix_are_those_of_the_module(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "w.pth"
    state = {f"{prefix}gain": torch.tensor(7.0), f"{prefix}centres": torch.zeros(3)}
    torch.save({"state_dict": state}, path)
    assert adapters.load(spec("right", path)).get_parameter("module.gain") == 7


def test_class_names_in_the_weights_are_those_that_a_label_map_maps(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    state = {"gain": torch.tensor(7.0), "centres": torch.zeros(3)}
    torch.save({"state_dict": state, "meta": {"dataset_meta": {"classes": ("x", "y", "z")}}}, path)
    read = spec("right", path)
    mapped = join(read.model_copy(update={"label_map": {"x": "b", "y": "a", "z": "a"}}), ("a", "b"))
    assert adapters.describe(mapped).classes == ("a", "b")
    assert adapters.load(mapped)(torch.rand(1, 3, 8, 8)).shape == (1, 2, 8, 8)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"gain": torch.tensor(7.0)}, "do not fit the module .*missing.*centres"),
        ({"gain": 3}, "holds no state dict"),
        (b"<html>", "no readable torch file"),
    ],
)
def test_weights_that_do_not_fit_are_one_sentence(tmp_path: Path, content: Any, said: str) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(InputError, match=f"model 'm': .*{said}"):
        adapters.load(spec("right", path))


@pytest.mark.parametrize(
    "arguments", [{"classes": 3}, {"num_classes": "three"}, {"num_classes": -1}]
)
def test_wrong_arguments_are_one_sentence_when_the_plan_is_made(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"model 'm': tests.foreign_models:right.*(raised|must)"):
        adapters.describe(spec("right", **arguments))


def test_hash_without_weights_is_refused() -> None:
    source = {"callable": "tests.foreign_models:right", "sha256": "0" * 64}
    with pytest.raises(ValueError, match=r"sha256 is given without weights"):
        ModelSpec.model_validate({"name": "m", "torch": source})


# -- modules that the user's file imports ---------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    path = folder / f"{name.replace('.', '/')}.py"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)


def forget() -> None:
    for name in [n for n in sys.modules if n.startswith("mine_")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("statement", "changed"),
    [
        ("import mine_help", "mine_help"),
        ("from mine_help import g", "mine_help"),
        ("from mine_pack.inner import g", "mine_pack.inner"),
        ("from mine_pack import inner", "mine_pack.inner"),
        ("import mine_pack.inner", "mine_pack.__init__"),
        ("from mine_pack import inner", "mine_deep"),  # which mine_pack.inner imports
        ("import importlib; importlib.import_module('mine_help')", "mine_help"),
        ("def later():\n    import mine_help", "mine_help"),
    ],
)
def test_imported_module_is_part_of_the_hash(statement: str, changed: str, folder: Path) -> None:
    write(folder, "mine_main", f"{statement}\ndef f():\n    return 1\n")
    write(folder, "mine_help", "g = 1\n")
    write(folder, "mine_deep", "h = 1\n")
    write(folder, "mine_pack.__init__", "")
    write(folder, "mine_pack.inner", "import mine_deep\ng = 1\n")
    forget()
    before = source_hash("mine_main:f")
    assert source_hash("mine_main:f") == before
    path = folder / f"{changed.replace('.', '/')}.py"
    path.write_text(path.read_text() + "# changed\n")
    forget()
    assert source_hash("mine_main:f") != before


def test_relative_import_is_part_of_the_hash(folder: Path) -> None:
    for value in (1, 2):
        write(folder, "mine_pack.__init__", "")
        write(folder, "mine_pack.losses", "from .help import g\ndef f():\n    return g\n")
        write(folder, "mine_pack.help", f"g = {value}\n")
        forget()
        source_hash("mine_pack.losses:f")
        if value == 1:
            before = source_hash("mine_pack.losses:f")
    assert source_hash("mine_pack.losses:f") != before


def test_file_that_imports_nothing_of_ones_own_keeps_its_hash(folder: Path) -> None:
    import hashlib

    text = (
        "import math, numpy as np\nimport torch.nn.functional as F\n"
        "from segtransfer.extend import mean_labelled\ntry:\n    import no_such_thing\n"
        "except ImportError:\n    pass\ndef f():\n    return 1\n"
    )
    write(folder, "mine_alone", text)
    forget()
    assert source_hash("mine_alone:f") == hashlib.sha256(text.encode()).hexdigest()


def test_imported_module_edited_since_is_refused(folder: Path) -> None:
    write(folder, "mine_main", "import mine_help\ndef f():\n    return mine_help.g\n")
    write(folder, "mine_help", "g = 1\n")
    forget()
    source_hash("mine_main:f")
    write(folder, "mine_help", "g = 2\n")
    assert find_function("mine_main:f")() == 1
    with pytest.raises(InputError, match="file of mine_help, which mine_main:f imports, changed"):
        source_hash("mine_main:f")
