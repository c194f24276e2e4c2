"""The page on architecture names every folder and the import order as the code has them."""

import re
from types import ModuleType

import pytest

import segtransfer
from segtransfer import extend
from tests.architecture.modules import FOLDERS
from tests.architecture.test_imports import ORDER
from tests.conftest import ROOT

PAGE = (ROOT / "docs/explanation/architecture.md").read_text()
API_PAGE = (ROOT / "docs/reference/python.md").read_text()
GLOSSARY = (ROOT / "docs/reference/glossary.md").read_text()
BESIDE_THE_CODE = {"docs", "examples", "infra", "tests"}


def section(title: str) -> str:
    """Return the text below a heading of the page, up to the next heading."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def folders_of_the_tree() -> list[str]:
    """Return the paths of the tree's lines, each of which has a description."""
    path: list[str] = []
    found = []
    for indent, name in re.findall(r"^    ( *)(\w+)/ +\S", section("The folders"), re.MULTILINE):
        path[len(indent) // 2 :] = [name]
        found.append("/".join(path))
    return found


def test_the_tree_names_every_package_and_no_other_folder() -> None:
    packages = {
        str(file.parent.relative_to(ROOT))
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("__init__.py")
    }
    named = folders_of_the_tree()
    assert len(named) == len(set(named))
    assert set(named) == packages | BESIDE_THE_CODE
    assert all((ROOT / folder).is_dir() for folder in BESIDE_THE_CODE)


def test_the_import_order_is_that_of_the_code() -> None:
    lines = re.findall(r"^(\d+)\. (.+)$", section("Import order"), re.MULTILINE)
    assert [int(number) for number, _ in lines] == list(range(1, len(ORDER) + 1))
    assert [" ".join(re.findall(r"`(.+?)`", names)) for _, names in lines] == list(ORDER)


@pytest.mark.parametrize("module", [segtransfer, extend], ids=lambda module: module.__name__)
def test_the_page_on_the_python_api_lists_exactly_the_public_names(module: ModuleType) -> None:
    text = API_PAGE.partition(f"\n## {module.__name__}\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \| \w", text, re.MULTILINE) == module.__all__


def test_the_glossary_has_each_term_once_in_alphabetical_order() -> None:
    terms = [term.lower() for term in re.findall(r"^\*\*(.+?)\.\*\* ", GLOSSARY, re.MULTILINE)]
    assert len(terms) > 50
    assert terms == sorted(set(terms))


def test_lines_of_the_new_pages_fit_120_characters() -> None:
    pages = (PAGE, GLOSSARY, (ROOT / "CHANGELOG.md").read_text())
    assert [line for page in pages for line in page.splitlines() if len(line) > 120] == []
