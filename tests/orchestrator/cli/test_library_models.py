"""Models of mmseg and transformers with foreign weights, through the command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from segtransfer.cli import app
from tests.orchestrator.toy_experiments import CLASSES, write_images
from tests.tasks.models.networks import write_network
from tests.tasks.models.segformers import write_segformer
from tests.tasks.models.universals import TINY, write_universal

runner = CliRunner()
Write = Callable[[Path], dict[str, Any]]


def experiment(folder: Path, model: dict[str, Any], side: int = 64, **changes: Any) -> Path:
    """Write an experiment with a single step on a single image of ``side`` x ``side`` pixels."""
    data = write_images(folder / "data", count=1, size=(side, side))
    content = {
        "data": {"folder": str(data), "classes": CLASSES},
        "models": [{"name": "m", **model, **changes}],
        "attacks": [{"preset": "pgd", "eps": "8/255", "steps": 1}],
        "runtime": {"executor": "inline", "store": str(folder / "store")},
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: {"mmseg": write_network(folder, "segformer")},
        lambda folder: {"mmseg": write_network(folder, "swin")},
        lambda folder: {"huggingface": {"model": str(write_segformer(folder / "hf", CLASSES))}},
    ],
    ids=["mmseg-segformer", "mmseg-swin-upernet", "transformers-segformer"],
)
def test_model_with_random_weights_is_planned_and_run(write: Write, tmp_path: Path) -> None:
    spec = str(experiment(tmp_path, write(tmp_path)))
    planned = runner.invoke(app, ["plan", spec])
    assert planned.exit_code == 0, planned.output
    answer = runner.invoke(app, ["run", spec, "--no-tracking"])
    assert answer.exit_code == 0, answer.output
    assert "white-box (diagonal)" in answer.output


@pytest.mark.parametrize("kind", TINY)
def test_universal_model_is_attacked_with_dynamic_scaling(kind: str, tmp_path: Path) -> None:
    source = {"model": str(write_universal(kind, tmp_path / "hf", CLASSES))}
    path = experiment(tmp_path, {"huggingface": source}, side=128)
    content = yaml.safe_load(path.read_text())
    content["attacks"] = [{"preset": "ds", "eps": "8/255", "steps": 4}]
    path.write_text(yaml.safe_dump(content))
    answer = runner.invoke(app, ["run", str(path), "--no-tracking"])
    assert answer.exit_code == 0, answer.output
    assert "white-box (diagonal)" in answer.output


def test_binary_model_with_a_single_channel_is_run(tmp_path: Path) -> None:
    source = write_network(tmp_path, "segformer", 2, out_channels=1, threshold=0.5)
    path = experiment(tmp_path, {"mmseg": source})
    content = yaml.safe_load(path.read_text())
    content["data"]["classes"] = ["background", "crack"]
    for label in (tmp_path / "data/labels").iterdir():
        Image.open(label).point(lambda value: min(value, 1)).save(label)
    path.write_text(yaml.safe_dump(content))
    answer = runner.invoke(app, ["run", str(path), "--no-tracking"])
    assert answer.exit_code == 0, answer.output


@pytest.fixture
def reversed_order(tmp_path: Path) -> dict[str, Any]:
    """Write a model whose checkpoint has the classes in reverse order."""
    source = write_network(tmp_path, "segformer")
    content = torch.load(source["checkpoint"])
    content["meta"] = {"dataset_meta": {"classes": tuple(CLASSES[::-1])}, "epoch": 1}
    torch.save(content, source["checkpoint"])
    return {"mmseg": source}


def test_checkpoint_of_another_class_order_is_refused(
    reversed_order: dict[str, Any], tmp_path: Path
) -> None:
    spec = str(experiment(tmp_path, reversed_order))
    for verb in (["plan"], ["run", "--no-tracking"]):
        answer = runner.invoke(app, [verb[0], spec, *verb[1:]])
        assert answer.exit_code == 2
        told = " ".join(answer.output.split())
        assert "different class lists (model / data: 0: 'tree' / 'road'" in told
        assert "label_map" in told
        assert "classes" in told
        assert not (tmp_path / "store/rows").exists()


@pytest.mark.parametrize("way_out", [{"label_map": {c: c for c in CLASSES}}, {"classes": CLASSES}])
def test_label_map_or_classes_accept_another_class_order(
    way_out: dict[str, Any], reversed_order: dict[str, Any], tmp_path: Path
) -> None:
    spec = str(experiment(tmp_path, reversed_order, **way_out))
    answer = runner.invoke(app, ["run", spec, "--no-tracking"])
    assert answer.exit_code == 0, answer.output


def test_server_failure_exits_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segtransfer.tasks.models.download.RETRY_DELAYS", ())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = write_network(tmp_path, "segformer")
    source |= {"checkpoint": "http://127.0.0.1:1/w.pth", "sha256": "0" * 64}
    answer = runner.invoke(app, ["run", str(experiment(tmp_path, {"mmseg": source}))])
    assert answer.exit_code == 1
    assert "cannot be downloaded in 1 tries" in " ".join(answer.output.split())
