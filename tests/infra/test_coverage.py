"""The page of models that were tried, and the script that measures them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "infra/coverage/models.py"
PAGE = ROOT / "docs/reference/models.md"  # made by the script in about an hour
LEAST = {"mmseg:": 38, "transformers:": 12}


def rows(title: str) -> dict[str, list[str]]:
    """Return the cells of a section's table by its first column."""
    section = PAGE.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {first: rest for first, *rest in cells}


def test_the_page_has_every_family_of_mmseg_and_every_type_of_transformers() -> None:
    from mmseg import __file__ as package
    from transformers.models.auto import modeling_auto

    folders = [p for p in (Path(package).parent / ".mim/configs").iterdir() if p.is_dir()]
    families = {p.name for p in folders if p.name != "_base_" and any(p.rglob("*.py"))}
    assert set(rows("mmsegmentation")) == families
    types = set(modeling_auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES)
    assert set(rows("transformers")) >= {"beit", "dpt", "segformer", "upernet"} & types
    assert set(rows("transformers")) >= {"eomt", "mask2former", "maskformer", "oneformer"}


@pytest.mark.parametrize(("title", "least"), [("mmsegmentation", 38), ("transformers", 12)])
def test_enough_models_predict_as_their_library_and_the_rest_have_a_reason(
    title: str, least: int
) -> None:
    agree = [
        name
        for name, (loads, equal, gradient, *_) in rows(title).items()
        if loads == "yes"
        and re.match(r"(yes|–) / (yes|–) / (yes|–)", equal)
        and "yes" in equal
        and gradient not in ("0%", "nan%")
    ]
    assert len(agree) >= least
    assert all(cells[-1] for name, cells in rows(title).items() if name not in agree)


@pytest.mark.slow
def test_models_are_measured_again_within_an_hour(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--results", str(tmp_path / "results")]
    command += ["--page", str(tmp_path / "page.md"), "--minutes", "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    counts = json.loads(done.stdout.splitlines()[-1])
    assert {library: count >= LEAST[library] for library, count in counts.items()} == {
        "mmseg:": True,
        "transformers:": True,
    }
