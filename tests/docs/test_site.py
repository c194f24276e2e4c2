"""The site: built with warnings as errors, then opened from a folder by a phone and a screen."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.pages,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium on the PATH (Debian's package is called chromium)"
    ),
]
pytest.importorskip("furo", reason="needs '.[docs]'")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of '.[test]'")

# The entrance, and a page of each part.
PAGES = (
    "docs/index",
    "docs/tutorials/notebook",
    "infra/README",
    "docs/reference/spec",
    "docs/explanation/concepts",
)
PHONE, SCREEN = 375, 1400  # pixels


def build(site: Path, source: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Build the site by the command of .ci/run."""
    (line,) = re.findall(r'sphinx-build" (.*) "\$scratch/site"', (ROOT / ".ci/run").read_text())
    command = [sys.executable, "-m", "sphinx", *line.split(), str(site)]
    return subprocess.run(command, cwd=source, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM)
        yield opened
        opened.close()


@pytest.fixture
def requests() -> list[str]:
    """Return the requests of the test's pages to other places than the site's folder."""
    return []


@pytest.fixture
def page(browser: Any, site: Path, requests: list[str]) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": SCREEN, "height": 900})
    context.set_default_timeout(80_000)  # machines that do much else are slow, not wrong
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))

    def note(request: Any) -> None:
        if not request.url.startswith(("data:", site.as_uri())):
            requests.append(request.url)

    page.on("request", note)
    yield page
    context.close()
    assert errors == []
    assert requests == []


def test_page_is_no_wider_than_a_phone(page: Any, site: Path) -> None:
    page.set_viewport_size({"width": PHONE, "height": 800})
    wide = {}
    for file in sorted({*site.rglob("*.html")} - {site / "index.html"}):  # which leads on
        page.goto(file.as_uri())
        width = page.evaluate("document.scrollingElement.scrollWidth")
        if width > PHONE:
            wide[file.relative_to(site)] = width
    assert wide == {}


@pytest.mark.parametrize(("light", "width"), [("light", SCREEN), ("dark", PHONE)])
def test_axe_finds_nothing_on_a_page_of_each_part(
    light: str, width: int, page: Any, site: Path
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.emulate_media(color_scheme=light)
    page.set_viewport_size({"width": width, "height": 900})
    for name in PAGES:
        page.goto((site / f"{name}.html").as_uri())
        # The style sheets are not read as files, which Chromium refuses for pages from a folder.
        found = axe.run(page, options={"preload": False}).response["violations"]
        assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found] == [], name


def test_search_finds_a_field_without_a_network(page: Any, site: Path) -> None:
    page.goto((site / "docs/index.html").as_uri())
    page.fill("input[name=q]", "label_map")
    page.press("input[name=q]", "Enter")
    page.wait_for_selector("#search-results a[href*='reference/spec.html']")
    assert "label_map" in page.url


def test_file_at_the_root_of_the_site_leads_to_the_entrance(page: Any, site: Path) -> None:
    page.goto((site / "index.html").as_uri())
    page.wait_for_url("**/docs/index.html")
    assert page.inner_text("h1").startswith("segtransfer")


def test_every_link_and_picture_within_the_site_leads_to_a_file(site: Path) -> None:
    missing = []
    for file in site.rglob("*.html"):
        text = file.read_text()
        for link in re.findall(r'<(?:a|img|link|script)[^>]* (?:href|src)="([^"#?]+)', text):
            if not re.match(r"[a-z]+:", link) and not (file.parent / link).exists():
                missing.append((str(file.relative_to(site)), link))
    assert missing == []


def test_build_fails_for_a_page_that_no_list_names_and_for_broken_links(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in ("docs", "infra", "search_spaces", "tasks/studies", "tasks/data/camvid"):
        shutil.copytree(ROOT / folder, source / folder)
    for file in ROOT.glob("*.md"):
        shutil.copy(file, source)
    (source / "docs/how-to/unlisted.md").write_text("# A page that no list names\n")
    links = "[Page](nowhere.md), [heading](data.md#no-heading)"
    (source / "docs/how-to/loss.md").write_text(f"# Add a loss\n\n{links}\n")
    done = build(tmp_path / "site", source)
    assert done.returncode != 0
    for fault in (r"unlisted\.md: WARNING", r"loss\.md:3: .*nowhere", r"loss\.md:3: .*no-heading"):
        assert re.search(fault, done.stderr), fault
