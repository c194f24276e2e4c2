"""What a checkpoint says of itself is compared with the config and the data."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from segtransfer.errors import InputError
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.checkpoint import load_state
from segtransfer.tasks.models.claims import classes_of, preprocessing_of
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.models.zoo import ZOO

ZOO_MODEL = ZOO["fcn-r18"]
NAMES = tuple(f"c{i}" for i in range(11))


def with_meta(folder: Path, meta: Any, **tensors: torch.Tensor) -> dict[str, Any]:
    """The model of a zoo checkpoint that a runner saved with ``meta``."""
    state = {**load_state(ZOO_MODEL.weights), **tensors}
    torch.save({"state_dict": state, "meta": meta}, folder / "w.pth")
    return {"config": str(ZOO_MODEL.config), "checkpoint": str(folder / "w.pth")}


def describe(source: dict[str, Any], **fields: Any) -> Any:
    return adapters.describe(ModelSpec.model_validate({"name": "m", "mmseg": source, **fields}))


@pytest.mark.parametrize(
    "meta",
    [
        {"dataset_meta": {"classes": NAMES, "palette": [[0, 0, 0]]}, "epoch": 1},
        {"dataset_meta": {"CLASSES": list(NAMES)}},
        {"CLASSES": NAMES, "PALETTE": None, "mmseg_version": "0.30"},
        {"CLASSES": list(NAMES), "dataset_meta": {"classes": NAMES}},
    ],
    ids=lambda meta: ",".join(meta),
)
def test_the_class_list_of_a_checkpoint_is_the_models(meta: Any, tmp_path: Path) -> None:
    source = with_meta(tmp_path, meta)
    assert describe(source).classes == NAMES
    mine = [f"mine {i}" for i in range(11)]
    assert describe(source, classes=mine).classes == tuple(mine)


@pytest.mark.parametrize(
    "meta",
    [None, {}, {"dataset_meta": None}, {"dataset_meta": {"classes": None}}, {"CLASSES": 3},
     {"dataset_meta": {"classes": []}}, {"CLASSES": "road"}, {"CLASSES": [1, 2]}, [1], "x"],
    ids=str,
)  # fmt: skip
def test_a_meta_without_a_class_list_says_nothing(meta: Any, tmp_path: Path) -> None:
    assert describe(with_meta(tmp_path, meta)).classes is None


def test_two_class_lists_that_differ_are_refused_unless_the_spec_decides(tmp_path: Path) -> None:
    meta = {"CLASSES": NAMES[::-1], "dataset_meta": {"classes": NAMES}}
    source = with_meta(tmp_path, meta)
    with pytest.raises(
        InputError, match=r"model 'm': .*w\.pth: meta\.CLASSES and meta\.dataset_meta\.classes"
    ):
        describe(source)
    assert describe(source, classes=NAMES).classes == NAMES


def test_a_class_list_of_another_length_than_the_head_is_refused(tmp_path: Path) -> None:
    source = with_meta(tmp_path, {"CLASSES": NAMES[:-1]})
    with pytest.raises(InputError, match=r"names 10 classes .*the config has 11; give the model"):
        describe(source)
    assert describe(source, classes=NAMES).num_classes == 11


def test_the_fingerprint_is_that_of_weights_and_config_alone(tmp_path: Path) -> None:
    source = with_meta(tmp_path, {"CLASSES": NAMES})
    assert describe(source).fingerprint == describe(source, classes=NAMES[::-1]).fingerprint


CONFIG = Config.fromfile(str(ZOO_MODEL.config))
MEAN = [float(v) for v in CONFIG.model.data_preprocessor.mean]


def changed(**preprocessor: Any) -> str:
    config = copy.deepcopy(CONFIG)
    config.model.data_preprocessor.update(preprocessor)
    return config.pretty_text


@pytest.mark.parametrize(
    "meta",
    [
        {"cfg": CONFIG.pretty_text},
        {"config": f"img_norm_cfg = dict(mean={MEAN}, to_rgb=True)\nother = open('x')"},
        {"cfg": "model = dict("},
        {"cfg": "(" * 5000},
        {"cfg": "\0"},
        {"cfg": 3},
        {"cfg": "model = build()"},
        {"cfg": "model = dict(data_preprocessor=dict(mean=None, std=[1], x=f()))"},
    ],
    ids=range(8),
)
def test_a_config_in_the_meta_that_agrees_or_says_nothing_passes(meta: Any, tmp_path: Path) -> None:
    assert describe(with_meta(tmp_path, meta)).num_classes == 11


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (changed(mean=[0, 0, 0]), r"mean \[.*\] / \[0.0, 0.0, 0.0\]"),
        (changed(std=[1, 1, 1]), r"std \[.*\] / \[1.0, 1.0, 1.0\]"),
        (changed(bgr_to_rgb=False), "channel order RGB / BGR"),
        (f"img_norm_cfg = dict(mean={MEAN}, to_rgb=False)", "channel order RGB / BGR"),
    ],
)
def test_a_checkpoint_trained_with_other_preprocessing_is_refused(
    text: str, told: str, tmp_path: Path
) -> None:
    source = with_meta(tmp_path, {"cfg": text})
    with pytest.raises(InputError, match=rf"config / checkpoint: {told}.*save the checkpoint's"):
        describe(source)


def test_a_mean_among_the_weights_counts_too(tmp_path: Path) -> None:
    same = {"data_preprocessor.mean": torch.tensor(MEAN).view(3, 1, 1)}
    assert describe(with_meta(tmp_path, {}, **same)).num_classes == 11
    other = {"data_preprocessor.mean": torch.zeros(3, 1, 1)}
    with pytest.raises(InputError, match="data_preprocessor differs"):
        describe(with_meta(tmp_path, {}, **other))


def test_a_text_is_parsed_and_not_executed(tmp_path: Path) -> None:
    touch = f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()"
    assert preprocessing_of({"cfg": f"model = {touch}"}) == {}
    assert not (tmp_path / "ran").exists()
    assert classes_of({"dataset_meta": {"classes": ("a",)}}) == ("a",)
