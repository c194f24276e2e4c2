"""Modules that are imported when an attribute is needed, and verbs that need no torch."""

import json
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


def test_submodule_is_imported_with_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "xmlrpc"]:
        monkeypatch.delitem(sys.modules, name)
    import_later("xmlrpc")
    client = import_module("xmlrpc.client")
    assert sys.modules["xmlrpc"].client is client
    assert not isinstance(sys.modules["xmlrpc"], Later)


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
