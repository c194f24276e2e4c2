"""Entrance pages: their lists name every page of their part once."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT

PARTS = ("tutorials", "how-to", "reference", "explanation")
ENTRY = re.compile(r"^- \[[^\]]*\]\(([^)#:]+\.md)\): \S", re.MULTILINE)


def entries(page: Path) -> list[Path]:
    """Return the pages that the lists of an entrance page name."""
    return [(page.parent / link).resolve() for link in ENTRY.findall(page.read_text())]


@pytest.mark.parametrize("part", PARTS)
def test_entrance_names_every_page_of_its_part_once(part: str) -> None:
    folder = ROOT / "docs" / part
    counts = Counter(entries(folder / "index.md"))
    assert [str(page) for page, count in counts.items() if count > 1] == []
    assert set(folder.glob("*.md")) - {folder / "index.md"} - set(counts) == set()


def test_entrance_of_the_site_names_every_part() -> None:
    named = entries(ROOT / "docs/index.md")
    assert [ROOT / "docs" / part / "index.md" for part in PARTS] == named[: len(PARTS)]


def test_every_line_of_a_list_on_an_entrance_page_is_an_entry() -> None:
    for page in [ROOT / "docs/index.md", *(ROOT / "docs").glob("*/index.md")]:
        lines = re.findall(r"^- ", page.read_text(), re.MULTILINE)
        assert len(entries(page)) == len(lines), page
