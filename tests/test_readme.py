"""README shows specs, calls and outputs as they are, within a hundred lines."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import segtransfer
from segtransfer.experiment.reading import read_experiment
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
TINY = """
name: tiny
data: {sample: camvid, images: 2, size: [48, 64]}
models: [fcn-r18, fcn-mnv2]
attacks: [{preset: pgd, steps: 2}, {preset: ds-mi, steps: 2}]
runtime: {executor: inline}
"""


def block(language: str) -> str:
    """Return the only block of a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    return str(found)


def test_readme_fits_one_hundred_lines_of_120_characters() -> None:
    lines = README.splitlines()
    assert len(lines) <= 100
    assert [line for line in lines if len(line) > 120] == []


def test_spec_is_valid_and_has_three_kinds_of_models(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(block("yaml"))
    spec = read_experiment(path)
    kinds = [(m.mmseg, m.huggingface, m.torch) for m in spec.models]
    assert [sum(kind is not None for kind in found) for found in kinds] == [1, 1, 1]
    assert block("yaml").count("\n") == 10
    assert [attack.name for attack in spec.attacks] == ["noise", "pgd", "ds-mi"]


def test_calls_of_python_work_on_a_tiny_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = block("python")
    assert len(code.split("\n\n")[1].splitlines()) == 5  # besides the import
    (tmp_path / "mine.yaml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {
        "model": segtransfer.load_model("fcn-r18"),
        "images": np.zeros((1, 3, 48, 64), np.uint8),
        "labels": np.ones((1, 48, 64), np.uint8),
    }
    exec(code, names)
    assert "against" in capsys.readouterr().out


def test_matrix_is_that_of_the_first_tutorial_which_a_test_follows() -> None:
    (table,) = re.findall(r"(?:^    (?:ds-mi  eps|[┏┃┡│├└]).*\n)+", README, flags=re.MULTILINE)
    shown = re.sub(r"^    ", "", table, flags=re.MULTILINE)
    assert shown.count("\n") == 10
    assert shown in (ROOT / "docs/tutorials/first-matrix.md").read_text()
