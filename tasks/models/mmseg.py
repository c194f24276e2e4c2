"""Adapter for mmsegmentation: its networks with differentiable preprocessing."""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from typing_extensions import override

from segtransfer.errors import InputError
from segtransfer.tasks.models.base import ModelInfo, Segmenter, freeze
from segtransfer.tasks.models.checkpoint import (
    Checkpoint,
    describe_mismatch,
    load_checkpoint,
    select,
    sha256_of,
)
from segtransfer.tasks.models.claims import check_preprocessing, classes_of
from segtransfer.tasks.models.inference import Inference
from segtransfer.tasks.models.mmseg_build import (
    build,
    has_usual_windows,
    import_libraries,
)
from segtransfer.tasks.models.mmseg_configs import find_config, published
from segtransfer.tasks.models.mmseg_missing import missing
from segtransfer.tasks.models.sliding import stitch, windows
from segtransfer.tasks.models.spec import MmsegSource, ModelSpec
from segtransfer.tasks.models.weights import fetch, fetch_published

ADAPTER_VERSION = 1
__all__ = ["MmsegSegmenter", "check", "describe", "import_libraries", "load"]


class MmsegSegmenter(Segmenter):
    """An mmseg network as ``model(images) -> logits`` at the images' resolution.

    Normalisation, channel order and padding come from the model's config, and so does the inference
    mode (whole or sliding window) unless the spec sets it. A head with a single channel z has two
    logits: 0, and z less the logit of the head's threshold.
    """

    mean: torch.Tensor
    std: torch.Tensor
    feature_layer = "network.backbone"

    def __init__(self, network: Any, preprocessor: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.num_classes = network.num_classes
        self.align_corners = network.align_corners
        self.threshold: float | None = None
        if network.out_channels == 1:
            self.num_classes, self.threshold = 2, _last(network.decode_head).threshold
        scale = preprocessor.get("mean") is not None
        mean = torch.tensor(preprocessor["mean"] if scale else [0.0] * 3)
        std = torch.tensor(preprocessor["std"] if scale else [1.0] * 3)
        self.register_buffer("mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, 3, 1, 1), persistent=False)
        # mmcv loads BGR; with either flag the network gets RGB.
        self.sees_rgb = bool(preprocessor.get("bgr_to_rgb") or preprocessor.get("rgb_to_bgr"))
        test_cfg = preprocessor.get("test_cfg") or {}
        self.size_divisor = self.pads_to = int(test_cfg.get("size_divisor") or 1)
        self.fixed_size = test_cfg.get("size")
        self.pad_value = float(preprocessor.get("pad_val", 0))

    @override
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        channels = images if self.sees_rgb else images.flip(1)
        inputs = (channels * 255 - self.mean) / self.std
        down, right = self._padding(height, width)
        if down or right:
            inputs = F.pad(inputs, (0, right, 0, down), value=self.pad_value)
        logits = self._answer(inputs)[..., :height, :width]
        if self.threshold is None:
            return logits
        zero = torch.logit(torch.tensor(self.threshold)).clamp(-100, 100).to(logits)
        return torch.cat([torch.zeros_like(logits), logits - zero], 1)

    def _answer(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the network's logits of preprocessed images, by windows if set in its config."""
        config = self.network.test_cfg
        if config.get("mode", "whole") == "slide" and has_usual_windows(self.network):
            answer = partial(self._inferred, self.network.encode_decode)
            height, width = inputs.shape[-2:]
            spans = windows(height, width, config.crop_size, config.stride)
            return stitch(answer, inputs, spans, again=self.deterministic)
        return self._inferred(self.network.inference, inputs)

    def _inferred(self, infer: Callable[..., torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        shape = inputs.shape[-2:]
        meta = {"ori_shape": shape, "img_shape": shape, "padding_size": [0] * 4}
        # Each image has its own meta, because slide_inference changes the first.
        return infer(inputs, [dict(meta) for _ in range(len(inputs))])

    def pixels_seen(self, height: int, width: int) -> int:
        """Return the pixels per image, with padding, once per window."""
        down, right = self._padding(height, width)
        size, config = (height + down, width + right), self.network.test_cfg
        if config.get("mode", "whole") == "whole":
            return size[0] * size[1]
        return sum(
            (bottom - top) * (right - left)
            for top, bottom, left, right in windows(*size, config.crop_size, config.stride)
        )

    @override
    def fold(self) -> bool:
        from mmcv.cnn.utils.fuse_conv_bn import fuse_conv_bn

        self.network = freeze(fuse_conv_bn(self.network))
        return True

    def _padding(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows below and columns right added by mmseg's preprocessor at test time."""
        if self.fixed_size:
            return max(self.fixed_size[0] - height, 0), max(self.fixed_size[1] - width, 0)
        return -height % self.pads_to, -width % self.pads_to


def load(spec: ModelSpec, device: str = "cpu") -> MmsegSegmenter:
    """Build the network, load its weights strictly, and freeze it.

    Args:
        spec: The model, with ``mmseg``.
        device: A torch device.

    Returns:
        The model on ``device``.

    Raises:
        InputError: If files are missing or do not fit.
        ServerError: If the server of the weights fails or cannot be reached.
    """
    config = read_config(_source(spec).config, spec.inference)
    network = build(spec.name, config)
    weights = _fitting(spec, network)
    network.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    return freeze(MmsegSegmenter(network, dict(config["data_preprocessor"]))).to(device)


def check(spec: ModelSpec) -> None:
    """Check that the checkpoint fits the config; the network is built on the CPU.

    Torch's meta device would refuse backbones with computed numbers, such as drop-path rates.

    Args:
        spec: The model, with ``mmseg``.

    Raises:
        InputError: If the network cannot be built or the checkpoint does not fit.
    """
    _fitting(spec, build(spec.name, read_config(_source(spec).config, spec.inference)))


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
    source = _source(spec)
    config = read_config(source.config, spec.inference)
    identity = [
        ADAPTER_VERSION,
        "mmseg",
        config,
        sha256_of(_file(source)),
    ]
    head = _last(config["decode_head"])
    if _is_binary(head):
        identity.append("sigmoid")
    text = json.dumps(identity, sort_keys=True, default=str)
    return ModelInfo(
        name=spec.name,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        backbone=spec.backbone or backbone_name(config["backbone"]),
        num_classes=_count(head),
        classes=_classes(spec, config),
        head=head["type"],
    )


def _last(heads: Any) -> Any:
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
    return _classes(spec, read_config(_source(spec).config, spec.inference))


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
    checkpoint, place = _checkpoint(spec), _place(_source(spec))
    try:
        check_preprocessing(config["data_preprocessor"], checkpoint.meta, checkpoint.state)
        if spec.classes is not None:
            return spec.classes
        names = classes_of(checkpoint.meta)
    except InputError as error:
        raise InputError(f"model '{spec.name}': checkpoint {place}: {error}") from error
    count = _count(_last(config["decode_head"]))
    if names is not None and count is not None and len(names) != count:
        raise InputError(
            f"model '{spec.name}': checkpoint {place} names {len(names)} classes "
            f"({', '.join(names[:4])} ...), and the config has {count}; give the model's classes "
            "in the spec"
        )
    return names


def _source(spec: ModelSpec) -> MmsegSource:
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


def _place(source: MmsegSource) -> str:
    """Return the path or the URL of the weights."""
    return source.checkpoint or published(source.config).weights


def _checkpoint(spec: ModelSpec) -> Checkpoint:
    source = _source(spec)
    return load_checkpoint(_file(source), trust=source.trust)


def _fitting(spec: ModelSpec, network: Any) -> dict[str, torch.Tensor]:
    """Return the checkpoint's tensors for a network, without those of the training alone.

    Raises:
        InputError: If names or shapes differ.
    """
    source, problem = _source(spec), ""
    expected = {k: v for k, v in network.state_dict().items() if "loss_" not in k}
    try:
        found = select(expected, _checkpoint(spec).state)
        training = ("auxiliary_head.", "data_prep")
        found = {k: v for k, v in found.items() if not k.startswith(training)}
        problem = describe_mismatch(expected, {k: v for k, v in found.items() if "loss_" not in k})
    except InputError as error:
        problem = str(error)
    if problem:
        raise InputError(
            f"model '{spec.name}': checkpoint {_place(source)} does not fit config "
            f"{source.config}: {problem}; give the checkpoint's own config"
        )
    return found


def backbone_name(backbone: dict[str, Any]) -> str:
    """Return a readable family name: the type and the fields that set its size.

    Args:
        backbone: The ``backbone`` part of a config.
    """
    sizes = ("depth", "arch", "base_channels", "embed_dims", "embed_dim", "widen_factor", "base_c")
    parts = [f"{k}={backbone[k]}" for k in sizes if k in backbone]
    return backbone["type"] + (f"({', '.join(parts)})" if parts else "")
