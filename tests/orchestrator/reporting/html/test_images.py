"""Pages with every image of every cell: complete, bounded, and only on request."""

import re
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.reporting.html.images import write_images
from segtransfer.results import Results
from tests.orchestrator.toy_experiments import run_toy

ATTACKS = [
    {"preset": "noise", "eps": "8/255"},
    {"preset": "pgd", "eps": "8/255", "steps": 2, "steps_at": [1, 2]},
]
PICTURES = 2 + 2 + (1 + 2 * 2) * (2 + 2)  # per image: clean, then rows of attacks and sources


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_toy(tmp_path_factory.mktemp("images"), attacks=ATTACKS)


def test_every_image_has_a_page_with_every_cell(results: Results) -> None:
    written = write_images(results)
    assert (written.shown, written.images) == (6, 6)
    pages = sorted(written.folder.glob("0*.html"))
    assert len(pages) == 6
    for page in pages:
        sources = re.findall(r'<img src="([^"]+)"', page.read_text())
        assert len(set(sources)) == len(sources) == PICTURES
        for source in sources:
            with Image.open(written.folder / source) as picture:
                assert picture.size == (32, 24)
    listed = written.page.read_text()
    assert all(page.name in listed for page in pages)


def test_a_bound_on_pictures_shows_the_first_images(results: Results) -> None:
    written = write_images(results, most=3 * PICTURES + 1)
    assert (written.shown, written.images) == (3, 6)
    assert "3 of 6 images, the first" in written.page.read_text()


def test_missing_result_is_not_measured(tmp_path: Path) -> None:
    results = run_toy(tmp_path, attacks=ATTACKS[:1])
    key = next(cell.key for cell in results.manifest.cells if cell.attack == "noise")
    results.store.files.delete(f"rows/{key[:2]}/{key}.parquet")
    written = write_images(results)
    assert written.shown == 6
    texts = [page.read_text() for page in written.folder.glob("0*.html")]
    assert any("not measured" in text for text in texts)


def test_the_command_writes_images_only_on_request(tmp_path: Path) -> None:
    results = run_toy(tmp_path, attacks=ATTACKS[:1])
    location = results.store.location
    said = CliRunner().invoke(app, ["report", location])
    assert said.exit_code == 0, said.output
    assert "Index:" in said.output
    assert not list(Path(location).glob("reports/*/images"))
    said = CliRunner().invoke(app, ["report", location, "--images"])
    assert "6 of 6 images" in said.output.replace("\n", " ")
    assert list(Path(location).glob("reports/*/images/index.html"))
