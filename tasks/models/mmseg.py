"""Adapter for mmsegmentation: our own differentiable preprocessing around its networks."""

import hashlib
import json
import logging
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from segtransfer.errors import InputError
from segtransfer.tasks.models.base import ModelInfo, Segmenter, freeze
from segtransfer.tasks.models.checkpoint import describe_mismatch, fetch, load_state, sha256_of
from segtransfer.tasks.models.sliding import windows
from segtransfer.tasks.models.spec import Inference, MmsegSource, ModelSpec

ADAPTER_VERSION = 1


class MmsegSegmenter(Segmenter):
    """An mmseg network behind ``model(images) -> logits`` at the images' resolution.

    Normalisation, channel order, padding and, unless the spec sets it, inference mode (whole or
    sliding window) come from the model's own config. Any batch size is possible.
    """

    mean: torch.Tensor
    std: torch.Tensor
    feature_layer = "network.backbone"

    def __init__(self, network: Any, preprocessor: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.num_classes = network.num_classes
        scale = preprocessor.get("mean") is not None
        mean = torch.tensor(preprocessor["mean"] if scale else [0.0] * 3)
        std = torch.tensor(preprocessor["std"] if scale else [1.0] * 3)
        self.register_buffer("mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, 3, 1, 1), persistent=False)
        # mmcv loads BGR; either flag swaps the channels, so the network then sees RGB.
        self.sees_rgb = bool(preprocessor.get("bgr_to_rgb") or preprocessor.get("rgb_to_bgr"))
        test_cfg = preprocessor.get("test_cfg") or {}
        self.size_divisor = int(test_cfg.get("size_divisor") or 1)
        self.fixed_size = test_cfg.get("size")
        self.pad_value = float(preprocessor.get("pad_val", 0))

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        channels = images if self.sees_rgb else images.flip(1)
        inputs = (channels * 255 - self.mean) / self.std
        down, right = self._padding(height, width)
        if down or right:
            inputs = F.pad(inputs, (0, right, 0, down), value=self.pad_value)
        shape = inputs.shape[-2:]
        meta = {"ori_shape": shape, "img_shape": shape, "padding_size": [0] * 4}
        # slide_inference writes into the first meta, so each image has its own.
        logits = self.network.inference(inputs, [dict(meta) for _ in range(len(images))])
        return logits[..., :height, :width]

    def pixels_seen(self, height: int, width: int) -> int:
        """Return the pixels per image; padding counts, and pixels count once per window."""
        down, right = self._padding(height, width)
        size, config = (height + down, width + right), self.network.test_cfg
        if config.get("mode", "whole") == "whole":
            return size[0] * size[1]
        return sum(
            (bottom - top) * (right - left)
            for top, bottom, left, right in windows(*size, config.crop_size, config.stride)
        )

    def fold(self) -> bool:
        from mmcv.cnn.utils.fuse_conv_bn import fuse_conv_bn

        self.network = freeze(fuse_conv_bn(self.network))
        return True

    def _padding(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows below and columns right that mmseg's preprocessor adds at test time."""
        if self.fixed_size:
            return max(self.fixed_size[0] - height, 0), max(self.fixed_size[1] - width, 0)
        return -height % self.size_divisor, -width % self.size_divisor


def load(spec: ModelSpec, device: str = "cpu") -> MmsegSegmenter:
    """Build the network, load its weights strictly, freeze it, move it to ``device``.

    Raises:
        InputError: If files are missing or do not fit.
    """
    source = _source(spec)
    config = _read_config(source.config, spec.inference)
    network = _build(spec.name, config)
    weights = _weights(source)
    _check_fit(spec.name, source, network.state_dict(), weights)
    network.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    return freeze(MmsegSegmenter(network, dict(config["data_preprocessor"]))).to(device)


def check(spec: ModelSpec) -> None:
    """Check that the checkpoint fits the config; nothing is initialised.

    Raises:
        InputError: If the network cannot be built or the checkpoint does not fit.
    """
    source = _source(spec)
    with torch.device("meta"):
        network = _build(spec.name, _read_config(source.config, spec.inference))
    _check_fit(spec.name, source, network.state_dict(), _weights(source))


def describe(spec: ModelSpec) -> ModelInfo:
    """Return fingerprint, backbone and classes, without loading.

    The fingerprint covers weights, config and adapter version.
    """
    source = _source(spec)
    config = _read_config(source.config, spec.inference)
    weights = sha256_of(fetch(source.checkpoint, source.sha256))
    text = json.dumps([ADAPTER_VERSION, "mmseg", config, weights], sort_keys=True, default=str)
    head = config["decode_head"]
    head = head[-1] if isinstance(head, list) else head
    return ModelInfo(
        name=spec.name,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        backbone=spec.backbone or _backbone_name(config["backbone"]),
        num_classes=head.get("num_classes"),
        classes=spec.classes,
        head=head["type"],
    )


def _source(spec: ModelSpec) -> MmsegSource:
    assert spec.mmseg is not None
    return spec.mmseg


def _read_config(config: str, inference: Inference | None) -> dict[str, Any]:
    """Return the ``model`` part of a config, ready for inference: nothing pretrained, no training.

    ``inference`` replaces the config's own inference mode.
    """
    from mmengine.config import Config

    path = find_config(config)
    try:
        content = Config.fromfile(str(path))
    except Exception as error:  # a config is Python: anything can go wrong in it
        raise InputError(f"config {path} could not be read: {error}") from error
    if "model" not in content:
        raise InputError(f"config {path} has no 'model'; give an ordinary mmseg config")
    model = content.model.to_dict()
    for key in ("auxiliary_head", "train_cfg", "init_cfg"):
        model.pop(key, None)
    model["pretrained"] = None
    for part in ("backbone", "neck"):
        if isinstance(model.get(part), dict):
            model[part]["init_cfg"] = None
    if "data_preprocessor" not in model or "backbone" not in model or "decode_head" not in model:
        raise InputError(
            f"config {path}: model needs data_preprocessor, backbone and decode_head "
            f"(it has {', '.join(sorted(model))})"
        )
    if inference is not None:
        tests = dict(model.get("test_cfg") or {})
        for key in ("crop_size", "stride"):
            tests.pop(key, None)
        if inference.window is not None:
            tests["crop_size"], tests["stride"] = inference.window
        model["test_cfg"] = {**tests, "mode": inference.mode}
    return model


def find_config(config: str) -> Path:
    """Return the file of a config: a path, or the name of one of mmseg's own configs.

    Raises:
        InputError: If it is neither.
    """
    path = Path(config).expanduser()
    if path.is_file():
        return path.resolve()
    shipped = _shipped_configs()
    stem = path.name.removesuffix(".py")
    if stem in shipped:
        return shipped[stem]
    from segtransfer.tasks.schema import suggest

    hint = suggest(stem, shipped).split("Allowed:")[0]
    raise InputError(
        f"config {config} is neither a file nor the name of one of mmseg's {len(shipped)} configs; "
        + (hint or "give a path")
    )


@cache
def _shipped_configs() -> dict[str, Path]:
    package = find_spec("mmseg")
    if package is None or package.origin is None:
        return {}
    return {p.stem: p for p in (Path(package.origin).parent / ".mim/configs").rglob("*.py")}


def _build(name: str, model: dict[str, Any]) -> Any:
    import_libraries()
    from mmengine.config import ConfigDict
    from mmengine.model import revert_sync_batchnorm
    from mmseg.registry import MODELS

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about losses, which are not used
            network = revert_sync_batchnorm(MODELS.build(ConfigDict(model)))
    except Exception as error:
        raise InputError(
            f"model '{name}': mmseg could not build its config ({type(error).__name__}: {error}). "
            "SAN, PSANet and PointRend need mmcv's compiled ops, Mask2Former and MaskFormer need "
            "mmdet, ConvNeXt needs mmpretrain"
        ) from error
    if network.out_channels != network.num_classes:
        raise InputError(
            f"model '{name}' has {network.out_channels} output channels for {network.num_classes} "
            "classes (a sigmoid head); give a head with one channel a class"
        )
    return network


def import_libraries() -> None:
    """Import mmseg's registries without its notices about optional packages."""
    logging.getLogger("mmengine").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mmseg.models  # noqa: F401
        from mmengine.registry import init_default_scope
    init_default_scope("mmseg")


def _weights(source: MmsegSource) -> dict[str, torch.Tensor]:
    state = load_state(fetch(source.checkpoint, source.sha256), trust=source.trust)
    return {k: v for k, v in state.items() if not k.startswith(("auxiliary_head.", "data_prep"))}


def _check_fit(
    name: str, source: MmsegSource, expected: dict[str, Any], found: dict[str, Any]
) -> None:
    expected = {k: v for k, v in expected.items() if "loss_" not in k}
    found = {k: v for k, v in found.items() if "loss_" not in k}
    if problem := describe_mismatch(expected, found):
        raise InputError(
            f"model '{name}': checkpoint {source.checkpoint} does not fit config "
            f"{source.config}: {problem}"
        )


def _backbone_name(backbone: dict[str, Any]) -> str:
    """Return a readable family name: the type and the fields that set its size."""
    sizes = ("depth", "arch", "base_channels", "embed_dims", "embed_dim", "widen_factor", "base_c")
    parts = [f"{k}={backbone[k]}" for k in sizes if k in backbone]
    return backbone["type"] + (f"({', '.join(parts)})" if parts else "")
