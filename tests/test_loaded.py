"""The check of the import root, which every test has, sees a stray module."""

import sys
from types import ModuleType

import pytest
import torch

from tests import toys
from tests.loaded import FOLDER_NAMES, unload_folders


@pytest.mark.parametrize("name", sorted(FOLDER_NAMES))
def test_stray_module_is_reported_once(name: str) -> None:
    sys.modules[name] = ModuleType(name)
    assert unload_folders() == {name}
    assert unload_folders() == set()


def test_every_test_has_the_check(request: pytest.FixtureRequest) -> None:
    assert "one_import_root" in request.fixturenames


def test_strict_toy_refuses_a_stray_module(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.zeros(1, 3, 4, 4)
    assert toys.strict()(images).shape == (1, 3, 4, 4)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tasks", ModuleType("tasks"))
        with pytest.raises(RuntimeError, match=r"loaded outside segtransfer: \['tasks'\]"):
            toys.strict()(images)
