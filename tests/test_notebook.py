"""The notebook of the docs runs from attack to LaTeX, and is committed without its outputs."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs/tutorials/notebook/two-attacks.ipynb"


def read() -> Any:
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient, of '.[test]'")
    return nbformat.read(NOTEBOOK, as_version=4)


def executed(folder: Path) -> Any:
    """Return the notebook with its outputs, run in a folder of its own."""
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient, of '.[test]'")
    resources = {"metadata": {"path": str(folder)}}
    return nbclient.NotebookClient(read(), timeout=300, resources=resources).execute()


def text_of(cell: Any) -> str:
    """What a cell shows as text."""
    shown = (out.get("text") or out.get("data", {}).get("text/plain", "") for out in cell.outputs)
    return "\n".join(shown)


@pytest.mark.pages
def test_the_notebook_runs_from_arrays_to_the_tables_of_a_paper(tmp_path: Path) -> None:
    book = executed(tmp_path)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    outputs = [out for cell in cells for out in cell.outputs]
    assert not [out for out in outputs if out.get("name") == "stderr"]  # no library speaks
    run = next(cell for cell in cells if "segtransfer.run" in cell.source)
    assert len(run.outputs) == 2  # a line of progress and the results
    assert "tasks in 0:" in text_of(run)
    assert '<div class="segtransfer">' in run.outputs[1]["data"]["text/html"]
    drawn = next(cell for cell in cells if "results.plot" in cell.source)
    assert any("image/png" in out.get("data", {}) for out in drawn.outputs)
    assert (tmp_path / "ds-mi.pdf").read_bytes().startswith(b"%PDF")
    tables = [text_of(cell) for cell in cells if "to_latex" in cell.source]
    assert len(tables) == 3
    assert all(r"\toprule" in table for table in tables)
    assert "ds-mi minus pgd" in tables[2]


def test_the_notebook_is_committed_without_outputs() -> None:
    for cell in read().cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert NOTEBOOK.stat().st_size < 20_000
