"""Attacks, models and searches that the how-to pages show are specs."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from segtransfer.experiment.reading import read_experiment
from segtransfer.searches.spec import read_search
from segtransfer.studies import read_base
from tests.conftest import ROOT

HOW_TO = ROOT / "docs/how-to"


def blocks(page: str) -> list[str]:
    """Return the indented blocks of a page, unindented."""
    text = (HOW_TO / page).read_text()
    found = re.findall(r"(?:(?:^    .*|^)\n)+", text, flags=re.MULTILINE)
    return [re.sub("^    ", "", block, flags=re.MULTILINE).strip() for block in found]


def test_attacks_of_the_page_on_attacks_are_specs(tmp_path: Path) -> None:
    (tmp_path / "aes_made_elsewhere").mkdir()
    Image.new("L", (320, 240), 1).save(tmp_path / "car.png")
    found = [b for b in blocks("attacks.md") if b.startswith("attacks:\n")]
    assert len(found) == 3
    for block in found:
        attacks = yaml.safe_load(block)["attacks"]
        spec = {"data": "camvid", "models": ["fcn-r18"], "attacks": attacks}
        (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
        assert len(read_experiment(tmp_path / "spec.yaml").attacks) == len(attacks)


def models() -> list[dict[str, Any]]:
    """Return the models of the page on models, each under its fields."""
    found: list[Any] = []
    for block in blocks("models.md"):
        if block.startswith("models:"):
            found += yaml.safe_load(block)["models"]
        elif block.startswith("- "):
            found += yaml.safe_load(block)
    return [model for model in found if isinstance(model, dict)]


@pytest.mark.parametrize("model", models(), ids=lambda model: f"{model['name']}-{len(model)}")
def test_model_of_the_page_on_models_is_a_spec(model: dict[str, Any], tmp_path: Path) -> None:
    members = ["fcn-r18", "pspnet-r18", "fcn-mnv2"]
    if "ensemble" in model:
        model = {**model, "ensemble": members[: len(model.get("weights", "12"))]}
    spec = {"data": "camvid", "models": [*members, model], "attacks": ["pgd"]}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    assert read_experiment(tmp_path / "spec.yaml").models[-1].name == model["name"]


def test_search_of_the_page_on_searches_is_a_spec(tmp_path: Path) -> None:
    (block,) = [b for b in blocks("search.md") if b.startswith("# my_search.yaml")]
    (tmp_path / "my_search.yaml").write_text(block)
    assert read_search(tmp_path / "my_search.yaml").search.trials == 100


def test_base_of_the_page_on_classifiers_is_the_shipped_base(tmp_path: Path) -> None:
    page = (HOW_TO / "classifiers.md").read_text()
    (block,) = re.findall(r"```yaml\n(# my-classifiers.yaml\n.*?)```", page, flags=re.DOTALL)
    (tmp_path / "my-classifiers.yaml").write_text(block)
    found = read_base(tmp_path / "my-classifiers.yaml")
    shipped = read_base(ROOT / "infra/studies/classifiers.yaml", ["data.folder=/somewhere"])
    assert found.attacks == shipped.attacks
    assert found.data.crops == shipped.data.crops
    for ours, theirs in zip(found.models, shipped.models, strict=True):
        assert ours.name == theirs.name
        assert ours.mmseg is not None
        assert theirs.mmseg is not None
        assert ours.mmseg.classifier
        assert Path(str(ours.mmseg.checkpoint)).name == Path(str(theirs.mmseg.checkpoint)).name
