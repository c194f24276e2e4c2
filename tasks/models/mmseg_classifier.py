"""Adapter for classifiers on mmsegmentation's backbones, with a linear head on pooled features."""

import hashlib
import json
from typing import Any

import torch
from torch import nn
from typing_extensions import override

from segtransfer.errors import InputError
from segtransfer.tasks.models.base import freeze
from segtransfer.tasks.models.checkpoint import (
    Checkpoint,
    describe_mismatch,
    load_checkpoint,
    select,
)
from segtransfer.tasks.models.claims import classes_of
from segtransfer.tasks.models.files import sha256_of
from segtransfer.tasks.models.info import ModelInfo
from segtransfer.tasks.models.mmseg import MmsegSegmenter
from segtransfer.tasks.models.mmseg_build import build_backbone, import_libraries
from segtransfer.tasks.models.mmseg_description import backbone_name, read_config
from segtransfer.tasks.models.spec import MmsegSource, ModelSpec
from segtransfer.tasks.models.weights import fetch

ADAPTER_VERSION = 1
HEAD = "head.weight"  # K x C, the name in the checkpoint
__all__ = ["PooledNetwork", "check", "classes", "describe", "import_libraries", "load"]


class PooledNetwork(nn.Module):
    """A backbone, the mean of its last features over the image, and a linear head.

    The attributes are those that ``MmsegSegmenter`` reads of an mmseg segmentor.
    """

    align_corners = False

    def __init__(self, backbone: nn.Module, channels: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(channels, num_classes)
        self.num_classes = self.out_channels = num_classes
        self.test_cfg = {"mode": "whole"}

    @override
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        features = self.backbone(inputs)
        last = features[-1] if isinstance(features, list | tuple) else features
        return self.head(last.mean((2, 3)))

    def inference(self, inputs: torch.Tensor, metas: list[dict[str, Any]]) -> torch.Tensor:
        """Return logits as an mmseg segmentor does.

        Args:
            inputs: Preprocessed images, float N x 3 x H x W.
            metas: The sizes of the images, unused.

        Returns:
            float N x K x 1 x 1.
        """
        return self(inputs)[..., None, None]


def load(spec: ModelSpec, device: str = "cpu") -> MmsegSegmenter:
    """Build the network, load its weights strictly, and freeze it.

    Args:
        spec: The model, with ``mmseg``.
        device: A torch device.

    Returns:
        The classifier on ``device``.

    Raises:
        InputError: If files are missing or do not fit.
        ServerError: If the server of the weights fails or cannot be reached.
    """
    config = read_config(_source(spec).config, spec.inference)
    model = MmsegSegmenter(_network(spec, config), dict(config["data_preprocessor"]))
    model.classifier = True
    return freeze(model).to(device)


def check(spec: ModelSpec) -> None:
    """Check that the checkpoint fits the config; the network is built on the CPU.

    Args:
        spec: The model, with ``mmseg``.

    Raises:
        InputError: If the backbone cannot be built or the checkpoint does not fit.
    """
    _network(spec, read_config(_source(spec).config, spec.inference))


def describe(spec: ModelSpec) -> ModelInfo:
    """Return fingerprint, backbone and classes, without building the network.

    Args:
        spec: The model, with ``mmseg``.

    Returns:
        The description. The fingerprint covers weights, adapter version, and backbone and
        preprocessing of the config.

    Raises:
        InputError: If the checkpoint has no linear head, or names another number of classes.
    """
    source = _source(spec)
    config = read_config(source.config, spec.inference)
    parts = {name: config[name] for name in ("backbone", "data_preprocessor")}
    weights = sha256_of(fetch(str(source.checkpoint), source.sha256))
    identity = [ADAPTER_VERSION, "mmseg-classifier", parts, weights]
    text = json.dumps(identity, sort_keys=True, default=str)
    return ModelInfo(
        name=spec.name,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        backbone=spec.backbone or backbone_name(config["backbone"]),
        num_classes=len(_head(spec, _checkpoint(spec))),
        classes=classes(spec),
        head="linear",
        classifier=True,
    )


def classes(spec: ModelSpec) -> tuple[str, ...] | None:
    """Return the class names of the spec, or else of the checkpoint.

    Args:
        spec: The model, with ``mmseg``.

    Returns:
        Names by index, or None if unknown.

    Raises:
        InputError: If the checkpoint names another number of classes than its head has.
    """
    if spec.classes is not None:
        return spec.classes
    checkpoint = _checkpoint(spec)
    names, count = classes_of(checkpoint.meta), len(_head(spec, checkpoint))
    if names is not None and len(names) != count:
        raise InputError(
            f"model '{spec.name}': checkpoint {_source(spec).checkpoint} names {len(names)} "
            f"classes, and its head has {count}; give the model's classes in the spec"
        )
    return names


def _network(spec: ModelSpec, config: dict[str, Any]) -> PooledNetwork:
    """Build the network with the weights of the checkpoint.

    Raises:
        InputError: If the checkpoint does not fit.
    """
    checkpoint = _checkpoint(spec)
    head = _head(spec, checkpoint)
    network = PooledNetwork(build_backbone(spec.name, config), head.shape[1], head.shape[0])
    expected = network.state_dict()
    try:
        found = select(expected, checkpoint.state)
        problem = describe_mismatch(expected, found)
    except InputError as error:
        problem = str(error)
    if problem:
        raise InputError(
            f"model '{spec.name}': checkpoint {_source(spec).checkpoint} does not fit the backbone "
            f"of config {_source(spec).config}: {problem}; give the checkpoint's own config"
        )
    network.load_state_dict({k: v.float() for k, v in found.items()}, strict=False)
    return network


def _head(spec: ModelSpec, checkpoint: Checkpoint) -> torch.Tensor:
    """Return the weights of the linear head, K x C.

    Raises:
        InputError: If the checkpoint has no such tensor.
    """
    head = checkpoint.state.get(HEAD)
    if head is None or head.ndim != 2:
        raise InputError(
            f"model '{spec.name}' is a classifier, and checkpoint {_source(spec).checkpoint} has "
            f"no linear head ({HEAD}, classes x features); give weights of a classifier, or leave "
            "mmseg.classifier out"
        )
    return head


def _checkpoint(spec: ModelSpec) -> Checkpoint:
    source = _source(spec)
    return load_checkpoint(fetch(str(source.checkpoint), source.sha256), trust=source.trust)


def _source(spec: ModelSpec) -> MmsegSource:
    assert spec.mmseg is not None
    return spec.mmseg
