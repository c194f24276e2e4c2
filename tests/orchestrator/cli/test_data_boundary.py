"""Users' data through the command: the right score, or a sentence and exit code 2."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from segtransfer import open_results
from segtransfer.cli import app

LABEL = np.kron(np.random.default_rng(0).integers(0, 3, (4, 4)), np.ones((6, 6))).astype(np.uint8)
PHOTO = np.stack([LABEL * 40] * 3, -1)
MODEL = """
import torch
from torch import nn


class Levels(nn.Module):
    '''Class k for red of 40 k.'''

    num_classes = 3

    def forward(self, x):
        return -100 * (x[:, :1] - torch.arange(3).view(1, -1, 1, 1) * 40 / 255) ** 2


def levels():
    return Levels()
"""
CONFIG = """
test_dataloader = dict(dataset=dict(
    type='{kind}', datasets=[dict(
        type='BaseSegDataset', data_root='data', data_prefix=dict({prefix}),
        img_suffix='.png', seg_map_suffix='.png', metainfo=dict(classes=('a', 'b', 'c')),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')])]))
test_evaluator = dict(type='IoUMetric', ignore_index={ignored})
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write an experiment on a single image with a model that predicts every pixel right."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for part, content in (("images", PHOTO), ("labels", LABEL)):
        (tmp_path / "data" / part).mkdir(parents=True)
        Image.fromarray(content).save(tmp_path / "data" / part / "é.png")
    (tmp_path / "levels_of_red.py").write_text(MODEL)
    spec = {
        "data": {"folder": "data", "classes": ["a", "b", "c"]},
        "models": [{"name": "m", "torch": {"callable": "levels_of_red:levels"}}],
        "attacks": [{"preset": "noise", "eps": "1/255"}],
        "runtime": {"executor": "inline", "store": "store", "tracking": False},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    return tmp_path


def orientation(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(PHOTO).copy()).save(folder / "data/images/é.png", exif=exif)


def sixteen_bits(folder: Path) -> None:
    grey = PHOTO[..., 0].astype(np.uint16) * 257
    Image.fromarray(grey).save(folder / "data/images/é.png")


def apple_double(folder: Path) -> None:
    for part in ("images", "labels"):
        (folder / "data" / part / "._é.png").write_bytes(b"Mac OS X")


def normal_forms(folder: Path) -> None:
    path = folder / "data/images/é.png"
    path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))


def write_config(folder: Path, *, kind: str, labels: bool = True, ignored: int = 255) -> None:
    prefix = "img_path='images'" + ", seg_map_path='labels'" * labels
    text = CONFIG.format(kind=kind, prefix=prefix, ignored=ignored)
    (folder / "config.py").write_text(text)
    spec = yaml.safe_load((folder / "spec.yaml").read_text())
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec | {"data": {"mmseg": "config.py"}}))


def concat(folder: Path) -> None:
    write_config(folder, kind="ConcatDataset")


def ignored_zero(folder: Path) -> None:
    write_config(folder, kind="ConcatDataset", ignored=0)
    photo = PHOTO.copy()
    photo[LABEL == 0] = 40  # a wrong prediction on an ignored pixel
    Image.fromarray(photo).save(folder / "data/images/é.png")


@pytest.mark.parametrize(
    "change", [orientation, sixteen_bits, apple_double, normal_forms, concat, ignored_zero]
)
def test_readable_data_scores_100(change: Callable[[Path], None], folder: Path) -> None:
    change(folder)
    answer = CliRunner().invoke(app, ["run", "spec.yaml"])
    assert answer.exit_code == 0, answer.output
    (results,) = open_results(folder / "store")
    assert results.matrix("noise").to_numpy().tolist() == [[100.0]]


def no_label(folder: Path) -> str:
    Image.fromarray(np.full_like(LABEL, 255)).save(folder / "data/labels/é.png")
    return "no image of data has a labelled pixel"


def two_labels(folder: Path) -> str:
    Image.fromarray(LABEL).save(folder / "data/labels/é.tif")
    return "has two labels named 'é'"


def jpeg(folder: Path) -> str:
    (folder / "data/labels/é.png").unlink()
    Image.fromarray(LABEL).save(folder / "data/labels/é.jpg")
    return "is compressed as JPEG"


def not_a_number(folder: Path) -> str:
    (folder / "data/labels/é.png").unlink()
    Image.fromarray(np.full(LABEL.shape, np.nan, np.float32)).save(folder / "data/labels/é.tif")
    return "holds [nan]"


def negative(folder: Path) -> str:
    (folder / "data/labels/é.png").unlink()
    Image.fromarray(np.full(LABEL.shape, -9999, np.int32)).save(folder / "data/labels/é.tif")
    return "has values [-9999]; allowed are 0 to 2"


def large(folder: Path) -> str:
    Image.new("1", (20_000, 10_000)).save(folder / "data/images/é.png")
    return "exceeds limit of 178956970 pixels"


def pattern(folder: Path) -> str:
    (folder / "data/dataset.json").write_text('{"sequence": "(["}')
    return "dataset.json: field 'sequence'"


def unlabelled_config(folder: Path) -> str:
    write_config(folder, kind="ConcatDataset", labels=False)
    return "has no labels (no seg_map_path"


@pytest.mark.parametrize(
    "change",
    [no_label, two_labels, jpeg, not_a_number, negative, large, pattern, unlabelled_config],
)
def test_unreadable_data_exits_with_2_and_one_sentence(
    change: Callable[[Path], str], folder: Path
) -> None:
    told = change(folder)
    answer = CliRunner().invoke(app, ["run", "spec.yaml"])
    assert answer.exit_code == 2, answer.output
    assert told in answer.output.replace("\n", "")
    assert "Traceback" not in answer.output
