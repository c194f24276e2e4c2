"""Adapter for mmsegmentation: its networks with differentiable preprocessing."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from typing_extensions import override

from segtransfer.errors import InputError
from segtransfer.tasks.models.base import Segmenter, freeze
from segtransfer.tasks.models.checkpoint import describe_mismatch, select
from segtransfer.tasks.models.mmseg_build import (
    build,
    has_usual_windows,
    import_libraries,
)
from segtransfer.tasks.models.mmseg_description import (
    checkpoint_of,
    classes,
    last_head,
    place_of,
    read_config,
    source_of,
)
from segtransfer.tasks.models.sliding import stitch, windows
from segtransfer.tasks.models.spec import ModelSpec

_built: dict[str, dict[str, torch.Tensor]] = {}  # names and shapes of checked networks, by config

__all__ = ["MmsegSegmenter", "check", "classes", "import_libraries", "load"]


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
            self.num_classes, self.threshold = 2, last_head(network.decode_head).threshold
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
    config = read_config(source_of(spec).config, spec.inference)
    network = build(spec.name, config)
    weights = _fitting(spec, network.state_dict())
    network.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    return freeze(MmsegSegmenter(network, dict(config["data_preprocessor"]))).to(device)


def check(spec: ModelSpec) -> None:
    """Check that the checkpoint fits the config; the network is built on the CPU.

    Torch's meta device would refuse backbones with computed numbers, such as drop-path rates. A
    network is built once for all models of its config.

    Args:
        spec: The model, with ``mmseg``.

    Raises:
        InputError: If the network cannot be built or the checkpoint does not fit.
    """
    config = read_config(source_of(spec).config, spec.inference)
    text = json.dumps(config, sort_keys=True, default=str)
    if text not in _built:
        tensors = build(spec.name, config).state_dict()
        _built[text] = {name: tensor.to("meta") for name, tensor in tensors.items()}
    _fitting(spec, _built[text])


def _fitting(spec: ModelSpec, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the checkpoint's tensors for a network, without those of the training alone.

    Args:
        spec: The model, with ``mmseg``.
        tensors: The network's tensors by name; their values are not read.

    Raises:
        InputError: If names or shapes differ.
    """
    source, problem = source_of(spec), ""
    expected = {k: v for k, v in tensors.items() if "loss_" not in k}
    try:
        found = select(expected, checkpoint_of(spec).state)
        training = ("auxiliary_head.", "data_prep")
        found = {k: v for k, v in found.items() if not k.startswith(training)}
        problem = describe_mismatch(expected, {k: v for k, v in found.items() if "loss_" not in k})
    except InputError as error:
        problem = str(error)
    if problem:
        raise InputError(
            f"model '{spec.name}': checkpoint {place_of(source)} does not fit config "
            f"{source.config}: {problem}; give the checkpoint's own config"
        )
    return found
