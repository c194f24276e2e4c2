"""Classifiers on mmseg backbones: pooled last features and a linear head."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from segtransfer.errors import InputError
from segtransfer.tasks.attack import attack
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.models import adapters, mmseg_classifier
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.mmseg_build import build_backbone
from segtransfer.tasks.models.mmseg_description import read_config
from segtransfer.tasks.models.spec import ModelSpec

CONFIG = str(Path(mmseg_classifier.__file__).parent / "zoo" / "_base_resnet18_half.py")
CLASSES = 3


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a classifier on the zoo's smaller ResNet."""
    torch.manual_seed(0)
    backbone = build_backbone("toy", read_config(CONFIG, None))
    network = mmseg_classifier.PooledNetwork(backbone, 256, CLASSES)
    path = tmp_path_factory.mktemp("weights") / "classifier.safetensors"
    save_file({k: v for k, v in network.state_dict().items() if v.is_floating_point()}, path)
    return path


def spec_of(weights: Path, config: str = CONFIG, **fields: Any) -> ModelSpec:
    source = {"config": config, "checkpoint": str(weights), "classifier": True}
    return ModelSpec.model_validate({"name": "toy", "mmseg": source, **fields})


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 3, 64, 80), np.uint8)


def test_logits_are_the_head_on_the_mean_of_the_last_features(weights: Path) -> None:
    spec = spec_of(weights)
    adapters.check(spec)
    model: Any = adapters.load(spec)
    pixels = torch.from_numpy(images()).float() / 255
    network = model.network
    features = network.backbone((pixels * 255 - model.mean) / model.std)[-1]
    wanted = features.mean((2, 3)) @ network.head.weight.T + network.head.bias
    assert isinstance(model, Segmenter)
    assert model.classifier
    torch.testing.assert_close(model(pixels), wanted[..., None, None])


def test_description_has_the_backbone_and_the_number_of_classes(weights: Path) -> None:
    info = adapters.describe(spec_of(weights))
    assert info.classifier
    assert info.num_classes == CLASSES
    assert info.backbone == "ResNetV1c(depth=18, base_channels=32)"
    assert info.classes is None
    assert adapters.describe(spec_of(weights, classes=["x", "y", "z"])).classes == ("x", "y", "z")


def test_skip_gradients_attack_a_classifier(weights: Path) -> None:
    spec = AttackSpec.model_validate({"name": "sgm", "preset": "sgm", "eps": "8/255", "steps": 2})
    labels = np.zeros((2, 64, 80), np.uint8)
    model = adapters.load(spec_of(weights))
    made = attack(model, spec, images(), labels, ["p", "q"], seed=0, group=0, micro_batch=2)
    loss = made.report["health"][0]["losses"]
    assert (np.array(loss[1]) > np.array(loss[0])).all()


def test_weights_of_another_backbone_are_refused(weights: Path) -> None:
    other = CONFIG.replace("resnet18_half", "mobilenet_v2")
    with pytest.raises(InputError, match="does not fit the backbone of config"):
        adapters.check(spec_of(weights, other))


def test_weights_without_a_linear_head_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "segmenter.safetensors"
    save_file({"decode_head.conv_seg.weight": torch.zeros(3, 4, 1, 1)}, path)
    with pytest.raises(InputError, match=r"has no linear head \(head\.weight"):
        adapters.describe(spec_of(path))


def test_published_weights_are_refused_for_a_classifier() -> None:
    source = {"config": CONFIG, "weights": "mmseg", "classifier": True}
    with pytest.raises(ValueError, match="mmseg publishes no weights of a classifier"):
        ModelSpec.model_validate({"name": "toy", "mmseg": source})
