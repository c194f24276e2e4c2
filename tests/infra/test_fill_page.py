"""The page of studies is filled from the reports of a store, and from nothing else."""

import os
import runpy
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

PAGE = (
    "# Studies\n\n<!-- camvid-heads -->\n<!-- end -->\n\n"
    "text\n\n<!-- camvid-object-size -->\nold\n<!-- end -->\n"
)


@pytest.fixture
def script(tmp_path: Path) -> dict[str, Any]:
    """The script over a page of its own."""
    found = runpy.run_path(str(ROOT / "infra/studies/fill_page.py"))
    found["filled"].__globals__["FOLDER"] = tmp_path / "page"
    (tmp_path / "page").mkdir()
    return found


def report(store: Path, name: str, paragraph: str, age: int) -> None:
    folder = store / "reports" / name
    folder.mkdir(parents=True)
    (folder / "study.png").write_bytes(paragraph.encode())
    (folder / "study.md").write_text(f"**What is so?**\n\n{paragraph}\n")
    os.utime(folder / "study.md", (1000 - age, 1000 - age))


def test_the_newest_report_of_each_study_stands_on_the_page(
    script: dict[str, Any], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    report(store, "camvid-heads-1", "Older.", age=9)
    report(store, "camvid-heads-2", "Newer.", age=1)
    report(store, "mine-object-size-1", "Of another base.", age=0)
    once = script["filled"](PAGE, store)
    shown = (
        "<!-- camvid-heads -->\n![What is so?](figures/camvid-heads.png)\n\nNewer.\n<!-- end -->"
    )
    assert once == PAGE.replace("<!-- camvid-heads -->\n<!-- end -->", shown)
    assert (tmp_path / "page/figures/camvid-heads.png").read_bytes() == b"Newer."
    assert script["filled"](once, store) == once
