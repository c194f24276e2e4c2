"""The page on defences: its specs are read, and its chains do what it says."""

import re
from pathlib import Path

import pytest
import yaml

from segtransfer.experiment.reading import read_experiment
from segtransfer.tasks.models.defences import DEFENCES
from tests.conftest import ROOT
from tests.tasks.foreign import write_module

PAGE = (ROOT / "docs/how-to/defences.md").read_text()


def code(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_spec_of_the_page_has_every_shipped_defence() -> None:
    experiment = read_experiment(yaml.safe_load(code("yaml")[0]))
    used = {defence.kind for model in experiment.models for defence in model.defences}
    assert used == set(DEFENCES)
    tta = next(model for model in experiment.models if model.name == "fcn-tta")
    assert [defence.kind for defence in tta.defences] == ["flip", "scales"]


def test_defence_of_the_page_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (module,) = code("python")
    write_module(tmp_path, "my_defences", module)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = yaml.safe_load(code("yaml")[1]) | {"data": "camvid", "attacks": ["noise"]}
    (model,) = read_experiment(spec).models
    assert model.defences[0].typed().by == 0.2
