"""Modules that are imported when an attribute is needed, and verbs that need no torch."""

import builtins
import json
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from segtransfer.cli.later import Later, import_later


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)


def test_module_is_imported_with_its_first_attribute() -> None:
    import_later("colorsys")
    stands_for = sys.modules["colorsys"]
    assert isinstance(stands_for, Later)
    assert stands_for.rgb_to_hsv(1.0, 0.0, 0.0) == (0.0, 1.0, 1.0)
    assert not isinstance(sys.modules["colorsys"], Later)
    assert stands_for.rgb_to_hsv is sys.modules["colorsys"].rgb_to_hsv


def test_imported_module_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    known = sys.modules["sys"]
    import_later("sys")
    assert sys.modules["sys"] is known


def test_missing_attribute_is_an_attribute_error() -> None:
    import_later("colorsys")
    with pytest.raises(AttributeError, match="no attribute 'hue'"):
        _ = sys.modules["colorsys"].hue  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [(["attacks"], "ds-mi"), (["attacks", "ds-mi"], "ds-mi"), (["models"], "resize-pad")],
)
def test_lists_import_no_torch(arguments: list[str], shown: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['segtransfer', *{arguments}]\n"
        "try:\n    runpy.run_module('segtransfer', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert 'torch._C' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


def test_modules_with_the_stand_in_get_the_library() -> None:
    import_later("colorsys")
    user = ModuleType("user_of_colorsys")
    user.colours = sys.modules["colorsys"]  # type: ignore[attr-defined]
    sys.modules[user.__name__] = user
    try:
        assert user.colours.rgb_to_hsv(1.0, 0.0, 0.0) == (0.0, 1.0, 1.0)
        assert user.colours is sys.modules["colorsys"]
        assert not isinstance(user.colours, Later)
    finally:
        del sys.modules[user.__name__]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that imports one of its submodules; each submodule counts its executions."""
    folder = tmp_path / "a_library"
    folder.mkdir()
    (folder / "__init__.py").write_text("from a_library import eager\nanswer = 42\n")
    count = "import builtins\nbuiltins.executions.append(__name__)\n"
    for name in ("eager", "other"):
        (folder / f"{name}.py").write_text(count + "class Thing: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("builtins.executions", [], raising=False)
    for name in ("a_library", "a_library.eager", "a_library.other"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder


@pytest.mark.parametrize("submodule", ["eager", "other"])
def test_submodule_is_executed_once_after_its_library(library: Path, submodule: str) -> None:
    import_later("a_library")
    module = import_module(f"a_library.{submodule}")
    whole = sys.modules["a_library"]
    assert not isinstance(whole, Later)
    assert getattr(whole, submodule) is module
    assert module.__spec__ is not None
    assert module.__spec__.origin == str(library / f"{submodule}.py")
    assert builtins.executions == ["a_library.eager"] + ["a_library.other"] * (  # type: ignore
        submodule == "other"
    )


def test_attribute_is_set_on_the_library(library: Path) -> None:
    import_later("a_library")
    stands_for = sys.modules["a_library"]
    stands_for.answer = 43
    assert sys.modules["a_library"].answer == 43
    assert not isinstance(sys.modules["a_library"], Later)


def test_stand_in_is_pickled_as_the_import_of_its_library(library: Path) -> None:
    import_later("a_library")
    assert pickle.loads(pickle.dumps(sys.modules["a_library"])).answer == 42


@pytest.mark.parametrize(
    "line",
    [
        "from torch.autograd import Function",
        "from torch.optim import Adam",
        "import torch.nn.functional as F",
        "import torch.distributed",
        "from torch import nn",
    ],
)
def test_torch_can_be_imported_by_any_submodule_first(line: str) -> None:
    code = f"from segtransfer.cli.later import import_later\nimport_later('torch')\n{line}\n"
    code += "import torch\nassert torch.ones(2).sum() == 2\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_name_of_no_module_stays_missing() -> None:
    import_later("no_such_module")
    with pytest.raises(ModuleNotFoundError):
        import_module("no_such_module")


def test_run_with_nothing_to_compute_imports_no_torch_no_mlflow_and_no_figures(
    tmp_path: Path,
) -> None:
    heavy = ("torch._C", "mlflow", "matplotlib", "altair", "ray")
    code = (
        "import runpy, sys\n"
        "sys.argv = ['segtransfer', 'run', 'spec.yaml']\n"
        "try:\n    runpy.run_module('segtransfer', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        f"print('imported:', *(name for name in {heavy} if name in sys.modules))\n"
    )
    spec = {
        "data": {"sample": "camvid", "images": 1},
        "models": ["segformer-mit"],
        "attacks": [{"preset": "pgd", "steps": 1}],
        "runtime": {"executor": "inline"},
    }
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    for imported in (heavy[:-1], ()):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].split()[1:] == [*imported]
