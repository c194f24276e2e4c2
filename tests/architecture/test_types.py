"""The check of types fails if a module has an error, and passes without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.wheels import copy_checkout

pytestmark = pytest.mark.slow
PLANTED = '\nplanted: int = "a word"\n'


def check_types(source: Path) -> subprocess.CompletedProcess[str]:
    """Run the check on a tree with this interpreter."""
    pytest.importorskip("mypy", reason="mypy is in extra dev")
    command = [str(ROOT / "infra/checks/types.sh"), str(source)]
    environment = os.environ | {"PYTHON": sys.executable}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("folder", ["orchestrator", "search_spaces", "tasks"])
def test_a_planted_error_of_each_folder_is_found(folder: str, tmp_path: Path) -> None:
    source = copy_checkout(tmp_path / "checkout")
    with (source / folder / "__init__.py").open("a") as file:
        file.write(PLANTED)
    done = check_types(source)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Incompatible types in assignment" in done.stdout
    assert "Found 1 error in 1 file" in done.stdout


def test_the_checkout_has_no_error_and_keeps_no_trace_of_the_check(tmp_path: Path) -> None:
    source = copy_checkout(tmp_path / "checkout")
    before = sorted(source.rglob("*"))
    done = check_types(source)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(source.rglob("*")) == before
