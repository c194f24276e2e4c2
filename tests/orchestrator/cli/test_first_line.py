"""``segtransfer run`` prints its first line of progress within the first second."""

import subprocess
import sys

WATCHED = """
import sys
from segtransfer.reporting.progress import ProgressView
ProgressView.stage = lambda view, text, detail="": print(text, "torch._C" in sys.modules)
from segtransfer.cli import main
sys.argv = ["segtransfer", "run", "missing.yaml"]
main()
"""


def test_first_line_of_progress_precedes_heavy_imports() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["Reading the spec False"]
    assert done.returncode == 2
    assert "missing.yaml" in done.stderr
