"""The counts behind a study's paragraph are kept in a file, which gives the paragraph again."""

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import decompress

import pyarrow.parquet as pq
import pytest

from segtransfer.studies import STUDIES, conclude, read_base
from tests.conftest import ROOT
from tests.orchestrator.studies.made_up import base_of, gains_over_pgd, results_of

FILES = sorted((ROOT / "infra/studies/evidence").glob("*.parquet"))


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "infra/studies/evidence.py"))


@pytest.fixture
def packed(script: dict[str, Any], tmp_path: Path) -> tuple[Path, str]:
    """A file of ``rivals`` made on somebody's machine, and the paragraph of its results."""
    base = base_of(data={"folder": "/home/someone/camvid", "images": 40})
    found = results_of(STUDIES["rivals"].experiment(base), gains_over_pgd(ds_mi=9, rdi_mi=6))
    known = {"means": {name: {"rms": 5.0, "forward_equivalents": 40.0} for name in found.attacks}}
    results = script["Packed"](**{**vars(replace(found)), **known})
    script["pack"](tmp_path / "rivals.parquet", results, base)
    return tmp_path, conclude(STUDIES["rivals"], base, results).paragraph


def test_file_gives_the_paragraph_of_its_results(
    script: dict[str, Any], packed: tuple[Path, str]
) -> None:
    folder, paragraph = packed
    assert script["differing"](f"# Page\n\n{paragraph}\n", folder) == {}
    assert "supports A5" in paragraph


def test_page_with_another_number_lacks_the_paragraph(
    script: dict[str, Any], packed: tuple[Path, str]
) -> None:
    folder, paragraph = packed
    assert script["differing"](paragraph.replace("+3.00", "+3.01"), folder) == {"rivals": paragraph}


def test_file_has_no_path_of_the_machine(packed: tuple[Path, str]) -> None:
    metadata = pq.read_schema(packed[0] / "rivals.parquet").metadata
    found = {key: decompress(text) for key, text in metadata.items()}
    assert not any(b"/home" in text for text in found.values())
    assert json.loads(found[b"manifest"]).get("run") is None
    assert json.loads(found[b"base"])["data"]["folder"] == "camvid"


@pytest.mark.pages
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_committed_counts_give_the_paragraph_of_the_page(
    script: dict[str, Any], path: Path
) -> None:
    results, base = script["unpack"](path)
    assert read_base(base) == base
    told = " ".join((ROOT / "tasks/studies/README.md").read_text().replace("\\*", "*").split())
    paragraph = conclude(STUDIES[path.stem.partition(".")[0]], base, results).paragraph
    assert " ".join(paragraph.split()) in told
