"""``segtransfer data check``: output, exit code and contact sheet."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from segtransfer.cli import app
from tests.tasks.data.folders import CLASSES, write_folder, write_image


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a working folder whose spec has a missing model, because no model is loaded."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "data", 5)
    model = {"name": "none", "torch": {"callable": "no_such_module:model"}}
    spec = {"data": {"folder": "data"}, "models": [model], "attacks": ["noise"]}
    (tmp_path / "streets.yaml").write_text(yaml.safe_dump(spec))
    return tmp_path


def check(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["data", "check", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_sound_data_set_is_described_and_drawn(folder: Path) -> None:
    code, told, _ = check("streets.yaml")
    assert code == 0, told
    for line in ("images   5", "videos   3", "classes  3", "20 x 28", "readable and match"):
        assert line in told
    assert all(name in told for name in CLASSES)
    assert "never occur" not in told
    assert "Contact sheet: streets-data.png" in told
    sheet = np.asarray(Image.open(folder / "streets-data.png").convert("RGB"))
    assert min(sheet.shape[:2]) > 200
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 100


def test_faults_are_all_listed_with_exit_code_2(folder: Path) -> None:
    write_image(folder / "data/labels/clip0_1.png", np.full((20, 28), 9, np.uint8))
    (folder / "data/images/clip1_3.png").write_bytes(b"torn")
    (folder / "data/labels/clip2_4.png").unlink()
    code, told, _ = check("streets.yaml", "--out", "sheet.png")
    assert code == 2
    assert "Wrong (3):" in told
    for part in ("clip0_1.png has values [9]", "clip1_3.png cannot be read", "clip2_4.png has no"):
        assert part in told
    assert "images   2" in told
    assert (folder / "sheet.png").is_file()


def test_absent_classes_are_named(folder: Path) -> None:
    _, told, _ = check("streets.yaml", f"data.classes={[*CLASSES, 'car', 'bus']}".replace("'", ""))
    assert "Classes that never occur (2): car, bus" in told


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["data.folder=nowhere"], "nowhere does not exist"),
        (
            ["--out", "sheet.jpg"],
            "error: --out sheet.jpg is no PNG file; give a name that ends with .png",
        ),
        (["--out", "no/sheet.png"], "error: --out no/sheet.png: the folder no does not exist"),
    ],
    ids=str,
)
def test_wrong_argument_prints_one_sentence(arguments: list[str], part: str, folder: Path) -> None:
    code, _, told = check("streets.yaml", *arguments)
    assert code == 2
    assert part in told
    assert not list(folder.glob("*.png"))


def test_recipe_is_checked_by_name(folder: Path) -> None:
    code, told, _ = check("quickstart", "data.images=2")
    assert code == 0
    assert "Data set camvid" in told
    assert (folder / "quickstart-data.png").is_file()
