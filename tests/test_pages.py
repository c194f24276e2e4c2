"""Pages for people: what they link to and show is there, and commands are as the CLI takes them."""

import re
import shlex
from pathlib import Path

import pytest

from segtransfer.experiment.reading import read_experiment
from tests.conftest import ROOT

FOLDERS = ("docs", "examples", "infra", "search_spaces", "tasks")
PAGES = [
    path.relative_to(ROOT)
    for path in [
        *sorted(ROOT.glob("*.md")),
        *(p for f in FOLDERS for p in sorted((ROOT / f).rglob("*.md"))),
    ]
]
LARGEST = 150_000  # bytes of a picture of the tour
TOUR = (ROOT / "docs/how-to/mlflow.md").read_text()


def links(page: Path) -> list[str]:
    """What a page links to or shows, without what is elsewhere."""
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_all_that_a_page_links_to_is_there(page: Path) -> None:
    missing = []
    for link in links(page):
        path, _, heading = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (heading and heading not in headings(target)):
            missing.append(link)
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_all_paths_of_the_repository_that_a_page_names_are_there(page: Path) -> None:
    top = {path.name for path in ROOT.iterdir() if path.is_dir()}
    named = re.findall(r"`([a-z_]+/[^`\s]*)`", (ROOT / page).read_text())
    made = "infra/secrets/"  # by infra/docker/make_secrets.sh
    paths = [p for p in named if p.partition("/")[0] in top and not p.startswith(made)]
    assert [path for path in paths if not list(ROOT.glob(path))] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_code_on_a_page_imports_from_segtransfer_alone(page: Path) -> None:
    imports = re.findall(r"^ *(?:from|import) (\w+).*$", (ROOT / page).read_text(), re.MULTILINE)
    assert {"orchestrator", "search_spaces", "tasks"}.isdisjoint(imports)


def headings(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_and_picture_of_docs_is_reachable_from_the_entrances() -> None:
    reached, new = set(), {ROOT / "README.md", ROOT / "docs/index.md"}
    while new:
        reached |= new
        pages = [page for page in new if page.suffix == ".md"]
        found = {(p.parent / link.partition("#")[0]).resolve() for p in pages for link in links(p)}
        new = found - reached
    docs = {p for p in (ROOT / "docs").rglob("*") if p.suffix in (".md", ".png", ".ipynb")}
    assert docs - reached == set()


def test_pictures_of_the_tour_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs/how-to/mlflow").iterdir()}
    assert len(sizes) == TOUR.count("![")
    assert [name for name, size in sizes.items() if size > LARGEST] == []


def test_the_experiments_of_the_tour_are_specs() -> None:
    commands = re.findall(r"^    segtransfer run quickstart *(.*)$", TOUR, flags=re.MULTILINE)
    eps = [
        {attack.eps for attack in read_experiment("quickstart", shlex.split(changes)).attacks}
        for changes in commands
    ]
    assert eps == [{4 / 255}, {2 / 255}, {8 / 255}]
