"""Files that a run leaves in the working folder are no changes of the repository."""

import subprocess

import pytest

from tests.conftest import ROOT

LEFT = (
    "segtransfer-store/rows/x",
    "segtransfer-reports/x.txt",
    "mlflow.db",
    "mlartifacts/1/x",
    "mlruns/x",
)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout")
@pytest.mark.parametrize("folder", ["", "examples/"])
def test_files_that_a_run_leaves_are_ignored(folder: str) -> None:
    paths = [folder + path for path in LEFT]
    answer = subprocess.run(
        ["git", "-C", str(ROOT), "check-ignore", *paths], capture_output=True, text=True
    )
    assert answer.stdout.split() == paths
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-ci", "--exclude-standard"],
        capture_output=True,
        text=True,
    )
    assert tracked.stdout == ""
