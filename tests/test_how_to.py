"""The how-to pages' code works as written: inline, on Ray, and in a submitted job."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import segtransfer
from segtransfer import open_results
from segtransfer.results import Results
from tests.conftest import ROOT
from tests.infra.labs import Lab, open_lab
from tests.tasks.foreign import on_path

pytestmark = pytest.mark.pages

PAGES = sorted(
    page for page in (ROOT / "docs/how-to").glob("*.md") if "\n# mine.yaml\n" in page.read_text()
)


def write_blocks(page: Path, folder: Path) -> list[str]:
    """Write each block of a page to the file that its first line names, and return the names.

    A block ``prepare.py`` is run, because pages hold text and no weights.
    """
    blocks = re.findall(r"```\w+\n# (\S+)\n(.*?)```", page.read_text(), flags=re.DOTALL)
    for name, content in blocks:
        (folder / name).write_text(content)
    if (folder / "prepare.py").exists():
        subprocess.run([sys.executable, "prepare.py"], cwd=folder, check=True)
    return [name for name, _ in blocks]


def run(folder: Path, executor: str) -> Results:
    """Run the page's spec from its folder."""
    command = [str(Path(sys.executable).with_name("segtransfer")), "run", "mine.yaml"]
    options = [
        f"runtime.executor={executor}",
        f"runtime.store={executor}",
        "runtime.tracking=false",
    ]
    done = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (results,) = open_results(folder / executor)
    return results


def stored(results: Results) -> dict[str, bytes]:
    """Return the AEs of a store by their keys."""
    keys = {cell.attack_key for cell in results.manifest.cells if cell.attack_key}
    images = {key: results.store.attack_images(key) for key in keys}
    return {key: found.tobytes() for key, found in images.items() if found is not None}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_inline(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = write_blocks(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    with on_path(monkeypatch, tmp_path):
        results = segtransfer.run("mine.yaml", ["runtime.executor=inline"])
        drops = [results.matrix(attack, "drop").to_numpy() for attack in results.attacks]
        assert np.isfinite(drops).all()
        if "look.py" in names:
            exec((tmp_path / "look.py").read_text(), {})
            assert "fcn-r18" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_gives_the_same_bits_on_ray(page: Path, tmp_path: Path) -> None:
    write_blocks(page, tmp_path)
    inline, ray = stored(run(tmp_path, "inline")), stored(run(tmp_path, "ray"))
    assert inline
    assert inline == ray


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A cluster of one node with segtransfer installed."""
    with open_lab() as lab:
        lab.start("head")
        yield lab


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_in_a_submitted_job(page: Path, lab: Lab, tmp_path: Path) -> None:
    folder, store = tmp_path / "work", tmp_path / "store"
    folder.mkdir()
    write_blocks(page, folder)
    done = lab.run(
        folder, "segtransfer", "submit", "mine.yaml", "runtime.tracking=false",
        "--working-dir", ".", "--address", lab.address, "--store", str(store),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (results,) = open_results(store)
    assert not results.missing
    assert stored(results) == stored(run(folder, "inline"))
