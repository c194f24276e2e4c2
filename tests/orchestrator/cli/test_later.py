"""Modules that are imported when an attribute is needed, and verbs that need no torch."""

import subprocess
import sys

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
