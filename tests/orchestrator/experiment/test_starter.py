"""``init``: a spec of what a folder holds, which a plan takes once it names models."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.errors import InputError
from segtransfer.experiment.reading import read_experiment
from segtransfer.experiment.starter import FolderContent, look_into, starter_spec
from segtransfer.tasks.yaml_files import parse
from tests.orchestrator.toy_experiments import CLASSES, write_images
from tests.tasks.models.networks import write_network
from tests.tasks.models.segformers import write_segformer

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: data in splits, a config with its weights, a saved model, odd files."""
    root = tmp_path_factory.mktemp("user")
    write_images(root / "street", split="train")
    write_images(root / "street", split="val")
    (root / "nets").mkdir()
    network = write_network(root / "nets", "segformer")
    Path(network["checkpoint"]).rename(Path(network["config"]).with_suffix(".pth"))
    write_segformer(root / "saved/city", CLASSES)
    (root / "saved/broken").mkdir()
    (root / "saved/broken/config.json").write_text("[")
    (root / "notes.txt").write_text("mine")
    return root


def test_data_and_models_of_a_folder_are_found(folder: Path) -> None:
    found = look_into(folder, folder)
    assert found.data == {
        "folder": "street",
        "split": "val",
        "classes": ["class0", "class1", "class2"],
    }
    assert not found.classes_named
    city, network = sorted(found.models, key=lambda model: "mmseg" in model)
    assert city == {"name": "city", "huggingface": {"model": "saved/city"}}
    assert network["mmseg"]["checkpoint"].endswith(".pth")


def test_starter_spec_is_valid_and_names_data_and_models(folder: Path, tmp_path: Path) -> None:
    answer = runner.invoke(app, ["init", str(folder), "--out", str(tmp_path / "mine.yaml")])
    assert answer.exit_code == 0, answer.output
    read = read_experiment(str(tmp_path / "mine.yaml"))
    assert read.data.folder == str(folder / "street")
    assert len(read.models) == 2
    assert [attack.name for attack in read.attacks] == ["noise", "pgd", "ds-mi"]


def saved_model(folder: Path) -> None:
    """A folder that looks as if transformers had saved a model into it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"architectures": ["SegformerForSemanticSegmentation"]}')
    (folder / "model.safetensors").touch()


def test_models_beside_images_and_labels_are_found(tmp_path: Path) -> None:
    write_images(tmp_path)
    saved_model(tmp_path / "models/city")
    saved_model(tmp_path / "labels/no-model")
    assert [model["name"] for model in look_into(tmp_path, tmp_path).models] == ["city"]


def test_a_model_has_a_valid_name_of_its_own(tmp_path: Path) -> None:
    for name in ("a b", "ä: #1", "###", "y" * 80, "1", "a", "a-2", "x/a", "z/a", "y/" + "y" * 80):
        saved_model(tmp_path / name)
    (tmp_path / "my net (2).py").touch()
    (tmp_path / "my net (2).pth").touch()
    (tmp_path / "e.yaml").write_text(starter_spec(look_into(tmp_path, tmp_path)))
    names = [model.name for model in read_experiment(str(tmp_path / "e.yaml")).models]
    assert len(set(names)) == 11
    assert {"a-b", "a-1", "model", "1", "a", "a-2", "a-3", "my-net-2"} < set(names)


def test_a_model_in_the_folder_itself_has_the_name_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved_model(tmp_path / "city")
    monkeypatch.chdir(tmp_path / "city")
    assert [model["name"] for model in look_into(Path("."), Path(".")).models] == ["city"]


@pytest.mark.parametrize("values", [np.full((8, 8), 900, np.uint16), np.full((8, 8, 3), 90, "u1")])
def test_labels_without_class_indices_invent_no_classes(values: np.ndarray, tmp_path: Path) -> None:
    write_images(tmp_path)
    Image.fromarray(values).save(tmp_path / "labels/image-0.png")
    found = look_into(tmp_path, tmp_path)
    assert found.data == {"folder": "."}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_unreadable_label_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 800)
    Image.fromarray(np.zeros((90, 90), np.uint8)).save(tmp_path / "labels/image-0.png")
    found = look_into(tmp_path, tmp_path)
    assert found.data is not None
    assert found.data["classes"] == ["class0", "class1", "class2"]


def test_a_folder_without_anything_gives_the_sample(tmp_path: Path) -> None:
    text = starter_spec(look_into(tmp_path, tmp_path))
    assert read_experiment(parse(text, "starter")).data.sample == "camvid"


def test_missing_models_become_placeholders() -> None:
    text = starter_spec(FolderContent({"folder": "d"}, True, ()))
    with pytest.raises(InputError, match="models is empty"):
        read_experiment(parse(text, "starter"))
    assert "{name: a, mmseg: " in text


def test_missing_data_become_a_placeholder() -> None:
    text = starter_spec(FolderContent(None, False, ({"name": "m", "zoo": "fcn-r18"},)))
    assert Path(read_experiment(parse(text, "starter")).data.folder or "").name == "FOLDER"


def test_data_without_models_are_checked_before_models_are_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"classes": list(CLASSES)}))
    monkeypatch.chdir(tmp_path)
    answer = runner.invoke(app, ["init"])
    assert "add your models, then run: segtransfer data check experiment.yaml" in answer.output
    assert "data:\n  folder: .\n" in Path("experiment.yaml").read_text()
    checked = runner.invoke(app, ["data", "check", "experiment.yaml"])
    assert checked.exit_code == 0, checked.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "folder nowhere does not exist"),
        ([".", "--out", "taken.yaml"], "--out taken.yaml exists already; give another file"),
        ([".", "--out", "no/x.yaml"], "the folder no does not exist; create the folder first"),
    ],
)
def test_wrong_argument_is_refused_and_no_file_is_written(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.yaml").write_text("mine")
    answer = runner.invoke(app, ["init", *arguments])
    assert answer.exit_code == 2
    assert told in answer.output
    assert [path.name for path in tmp_path.iterdir()] == ["taken.yaml"]
