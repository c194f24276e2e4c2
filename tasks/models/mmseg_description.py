"""Descriptions of mmsegmentation models, from config and checkpoint, without the network."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segtransfer.errors import InputError
from segtransfer.tasks.models.claims import check_preprocessing, classes_of
from segtransfer.tasks.models.files import sha256_of
from segtransfer.tasks.models.inference import Inference
from segtransfer.tasks.models.info import ModelInfo
from segtransfer.tasks.models.mmseg_configs import find_config, published
from segtransfer.tasks.models.mmseg_missing import missing
from segtransfer.tasks.models.spec import MmsegSource, ModelSpec
from segtransfer.tasks.models.weights import fetch, fetch_published
from segtransfer.tasks.models.zoo import ZOO

if TYPE_CHECKING:
    from segtransfer.tasks.models.checkpoint import Checkpoint

ADAPTER_VERSION = 1


def describe(spec: ModelSpec) -> ModelInfo:
    """Return fingerprint, backbone and classes, without building the network.

    Args:
        spec: The model, with ``mmseg``.

    Returns:
        The description. The fingerprint covers weights, config and adapter version; classes are the
        spec's, or else those in the checkpoint's meta.

    Raises:
        InputError: If config and checkpoint contradict each other about classes or preprocessing.
    """
    source = source_of(spec)
    config = read_config(source.config, spec.inference)
    weights = sha256_of(_file(source))
    identity = [ADAPTER_VERSION, "mmseg", config, weights]
    head = last_head(config["decode_head"])
    # Shipped weights are known to fit, so their tensors are not read, which would import torch.
    known = spec.classes if _is_shipped(source, weights) else None
    if _is_binary(head):
        identity.append("sigmoid")
    text = json.dumps(identity, sort_keys=True, default=str)
    return ModelInfo(
        name=spec.name,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        backbone=spec.backbone or backbone_name(config["backbone"]),
        num_classes=_count(head),
        classes=known or _classes(spec, config),
        head=head["type"],
    )


def _is_shipped(source: MmsegSource, weights: str) -> bool:
    """Tell whether config and weights are of a zoo model, and so known to fit.

    Args:
        source: The config and the weights.
        weights: The sha256 of the weights.
    """
    shipped = {(str(zoo.config), zoo.sha256) for zoo in ZOO.values()}
    return (source.config, weights) in shipped


def last_head(heads: Any) -> Any:
    """Return the predicting head: the last of a cascade."""
    return heads if hasattr(heads, "threshold") or isinstance(heads, dict) else heads[-1]


def classes(spec: ModelSpec) -> tuple[str, ...] | None:
    """Return the class names of the spec, or else of the checkpoint.

    Args:
        spec: The model, with ``mmseg``.

    Returns:
        Names by index, or None if unknown.

    Raises:
        InputError: If the checkpoint contradicts the config, or itself.
    """
    return _classes(spec, read_config(source_of(spec).config, spec.inference))


def _is_binary(head: Mapping[str, Any]) -> bool:
    """Tell whether a head has a single channel for two classes."""
    return (head.get("out_channels") or head.get("num_classes")) == 1


def _count(head: Mapping[str, Any]) -> int | None:
    return 2 if _is_binary(head) else head.get("num_classes")


def _classes(spec: ModelSpec, config: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the class names of the spec, or else of the checkpoint, or None.

    Raises:
        InputError: If the checkpoint contradicts the config, or itself.
    """
    checkpoint, place = checkpoint_of(spec), place_of(source_of(spec))
    try:
        check_preprocessing(config["data_preprocessor"], checkpoint.meta, checkpoint.state)
        if spec.classes is not None:
            return spec.classes
        names = classes_of(checkpoint.meta)
    except InputError as error:
        raise InputError(f"model '{spec.name}': checkpoint {place}: {error}") from error
    count = _count(last_head(config["decode_head"]))
    if names is not None and count is not None and len(names) != count:
        raise InputError(
            f"model '{spec.name}': checkpoint {place} names {len(names)} classes "
            f"({', '.join(names[:4])} ...), and the config has {count}; give the model's classes "
            "in the spec"
        )
    return names


def source_of(spec: ModelSpec) -> MmsegSource:
    """Return the field ``mmseg`` of a model that has it."""
    assert spec.mmseg is not None
    return spec.mmseg


def read_config(config: str, inference: Inference | None) -> dict[str, Any]:
    """Return the ``model`` part of a config without pretrained weights and training parts.

    Args:
        config: A config file, or the name of a config in the package mmseg.
        inference: Replaces the config's own inference mode; None keeps the mode.

    Raises:
        InputError: If the config cannot be read, or is of no segmentation network.
    """
    from mmengine.config import Config

    path = find_config(config)
    try:
        content = Config.fromfile(str(path))
    except Exception as error:  # a config is Python: anything can go wrong in it
        raise InputError(f"config {path} cannot be read{missing(error) or f': {error}'}") from error
    if "model" not in content:
        raise InputError(f"config {path} has no 'model'; give an mmseg config of a model")
    model = content.model.to_dict()
    if model.get("type") == "DepthEstimator":
        raise InputError(
            f"config {path} is of a DepthEstimator, which predicts no classes; give the config of "
            "a segmentation network"
        )
    for key in ("auxiliary_head", "train_cfg", "init_cfg"):
        model.pop(key, None)
    model["pretrained"] = None
    for part in ("backbone", "neck"):
        if isinstance(model.get(part), dict):
            model[part]["init_cfg"] = None
    if "data_preprocessor" not in model or "backbone" not in model or "decode_head" not in model:
        raise InputError(
            f"config {path}: model needs data_preprocessor, backbone and decode_head, and this "
            f"{model.get('type', 'dict')} has {', '.join(sorted(model))}; write a torch callable "
            "for the network"
        )
    if inference is not None:
        tests = dict(model.get("test_cfg") or {})
        for key in ("crop_size", "stride"):
            tests.pop(key, None)
        if inference.window is not None:
            tests["crop_size"], tests["stride"] = inference.window
        model["test_cfg"] = {**tests, "mode": inference.mode}
    return model


def _file(source: MmsegSource) -> Path:
    """Return the local file of the weights, downloaded if need be."""
    if source.checkpoint is not None:
        return fetch(source.checkpoint, source.sha256)
    return fetch_published(published(source.config).weights, source.sha256)


def place_of(source: MmsegSource) -> str:
    """Return the path or the URL of the weights."""
    return source.checkpoint or published(source.config).weights


def checkpoint_of(spec: ModelSpec) -> "Checkpoint":
    """Return the content of the checkpoint of a model."""
    from segtransfer.tasks.models.checkpoint import load_checkpoint  # imports torch

    source = source_of(spec)
    return load_checkpoint(_file(source), trust=source.trust)


def backbone_name(backbone: dict[str, Any]) -> str:
    """Return a readable family name: the type and the fields that set its size.

    Args:
        backbone: The ``backbone`` part of a config.
    """
    sizes = ("depth", "arch", "base_channels", "embed_dims", "embed_dim", "widen_factor", "base_c")
    parts = [f"{k}={backbone[k]}" for k in sizes if k in backbone]
    return backbone["type"] + (f"({', '.join(parts)})" if parts else "")
