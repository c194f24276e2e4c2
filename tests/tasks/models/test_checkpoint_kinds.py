"""Every way in which people save weights is read, and every file that holds none is named."""

from pathlib import Path
from typing import Any

import pytest
import torch

from segtransfer.errors import InputError
from segtransfer.tasks.models.checkpoint import load_state, select
from segtransfer.tasks.models.weights import fetch

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "b.bias": torch.zeros(2)}
OTHER = {"a.weight": torch.ones(2, 3), "b.bias": torch.ones(2)}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2), "step": torch.ones(1)}}, "param_groups": []}


def saved(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "w.pth")
    return folder / "w.pth"


def assert_is_state(found: dict[str, torch.Tensor]) -> None:
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[k], STATE[k]) for k in STATE)


@pytest.mark.parametrize(
    "content",
    [
        {"model": STATE},
        {"model_state_dict": STATE, "epoch": 3, "loss": torch.tensor(1.0)},
        {"state_dict": STATE, "ema_state_dict": OTHER, "optimizer": OPTIMIZER},
        {"model": STATE, "model_ema": OTHER, "optimizer": OPTIMIZER, "args": {"lr": 0.1}},
        {"net": STATE, "optimizer": OPTIMIZER},
        {"ema": STATE, "epoch": 1},
        {"params": STATE},
        {"model": {"state_dict": STATE, "name": "x"}},
    ],
    ids=lambda content: ",".join(content),
)
def test_a_state_dict_is_found_under_any_name(content: Any, tmp_path: Path) -> None:
    assert_is_state(load_state(saved(tmp_path, content)))


def test_several_state_dicts_of_unknown_purpose_are_refused_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path, {"student": STATE, "teacher": OTHER})
    with pytest.raises(InputError, match=r"several state dicts \(student, teacher\)"):
        load_state(path)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module.module.", "module._orig_mod."])
def test_what_compiling_and_parallel_training_put_before_names_is_taken_off(
    prefix: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, {f"{prefix}{k}": v for k, v in STATE.items()})
    assert_is_state(load_state(path))


def test_a_part_that_alone_was_compiled_is_unwrapped(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a._orig_mod.weight": STATE["a.weight"], "b.bias": STATE["b.bias"]})
    assert_is_state(load_state(path))


@pytest.mark.parametrize("prefix", ["model.", "net.", "model.net.", "ema.module."])
def test_a_prefix_of_another_module_is_found_by_the_networks_own_names(prefix: str) -> None:
    found = {f"{prefix}{k}": v for k, v in STATE.items()}
    beside = {"criterion.weight": torch.ones(3), "n_averaged": torch.ones(())}
    assert_is_state(select(STATE, {**found, **beside}))


def test_names_that_fit_or_fit_nowhere_stay() -> None:
    assert_is_state(select(STATE, STATE))
    strange = {"x": torch.ones(1), "model.a.weight": torch.ones(2, 3)}
    assert select(STATE, strange) == strange


def test_a_network_that_is_held_twice_is_refused() -> None:
    found = {f"{p}.{k}": v for p in ("student", "teacher") for k, v in STATE.items()}
    with pytest.raises(InputError, match=r"holds the network 2 times \(student\., teacher\.\)"):
        select(STATE, found)


def test_a_module_saved_whole_is_read_with_trust(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 3)
    path = saved(tmp_path, {"model": module})
    with pytest.raises(InputError, match="set trust: true"):
        load_state(path)
    assert load_state(path, trust=True).keys() == module.state_dict().keys()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS pointer"),
        (b"<!doctype html><title>Sign in</title>", "web page"),
        (b"\n\n  <HTML><body>404", "web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error>AccessDenied</Error>", "web page"),
        (b"", "empty"),
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_in_place_of_weights_is_named(
    name: str, content: bytes, told: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path} is no readable .* it is .*{told}"):
        load_state(path)
    with pytest.raises(InputError, match=f"another sha256 than .*it is .*{told}"):
        fetch(str(path), "0" * 64)


@pytest.mark.parametrize(
    "content", [b"\x80\x02.", b"\x80\x02}.", b"{}", b"\x80\x02K\x01.", b"\x00" * 99]
)
def test_a_hostile_file_is_refused_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"w\.pth"):
        load_state(tmp_path / "w.pth")
